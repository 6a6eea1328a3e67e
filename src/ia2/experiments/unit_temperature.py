"""Temperature scaling of a unit's methods, fitted on the dev rows of its set."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ia2.evaluation.evaluate import Evaluation
from ia2.evaluation.labels import LabelEvaluation
from ia2.evaluation.temperature import fitted_temperature, refusal
from ia2.experiments.unit_evaluator import TimedEvaluation
from ia2.experiments.unit_rows import UnitRows


class Fitted(NamedTuple):
    """A method's temperature, None if none can be fitted."""

    temperature: float | None
    seconds: dict[str, float]
    """Seconds of evaluating the dev rows; empty if they weren't evaluated."""


@dataclass(frozen=True)
class UnitTemperature:
    """Temperature scaling on a unit's dev rows (a baseline that PROTOCOL doesn't have).

    The same dev rows drive early stopping and may select the learning rate; evaluation rows are never used. Other
    tasks are scaled by the temperature of the source task.
    """

    rows: UnitRows

    @property
    def note(self) -> str | None:
        """Why no temperature is fitted, as a sentence; None if one is, or if responses are free text."""
        task, why = self.rows.few_shot_set.task, self._refusal
        if not task.labels or why is None:
            return None
        return f"{task.name}: no temperature is fitted, as {why} (at least two labels are needed)."

    def of_all(self, answers: Callable[[], list[TimedEvaluation]], count: int) -> list[Fitted]:
        """Fit the temperature of each of several methods.

        Args:
            answers: evaluates them on the dev rows; called only if a temperature can be fitted.
            count: number of methods.
        """
        if not self.rows.few_shot_set.task.labels or self._refusal is not None:
            return [Fitted(None, {})] * count
        return [Fitted(_temperature(evaluation), {"temperature": seconds}) for evaluation, seconds in answers()]

    @property
    def _refusal(self) -> str | None:
        few_shot_set = self.rows.few_shot_set
        labels = few_shot_set.task.labels
        right = [labels.index(row.response) for row in few_shot_set.dev] if labels else []
        return refusal(np.array(right, dtype=np.int64))


def _temperature(evaluation: Evaluation) -> float:
    assert isinstance(evaluation, LabelEvaluation), "the task has labels"
    return fitted_temperature(evaluation.probabilities, evaluation.right)
