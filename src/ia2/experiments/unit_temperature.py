"""The temperature of each of a unit's methods, fitted on the dev rows of the set that the method learnt from."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ia2.evaluation.evaluate import Evaluation
from ia2.evaluation.labels import LabelEvaluation
from ia2.evaluation.temperature import fitted_temperature, refusal
from ia2.experiments.unit_asking import Answered
from ia2.experiments.unit_rows import UnitRows


class Fitted(NamedTuple):
    """A method's temperature; None where none can be fitted."""

    temperature: float | None
    seconds: dict[str, float]
    """What asking the dev rows took, where they were asked."""


@dataclass(frozen=True)
class UnitTemperature:
    """Temperature scaling on a unit's dev rows (PROTOCOL has none: it is a baseline).

    The same dev rows have stopped training and may have chosen the learning rate, but no evaluation row is looked at.
    Other tasks are scaled by the temperature of the task that was learnt from.
    """

    rows: UnitRows

    @property
    def note(self) -> str | None:
        """Why no temperature is fitted, as a sentence; None where one is, and of free text, which has no labels."""
        task, why = self.rows.few_shot_set.task, self._refusal
        if not task.labels or why is None:
            return None
        return f"{task.name}: no temperature is fitted, as {why} (at least two labels are needed)."

    def of_all(self, answers: Callable[[], list[Answered]], count: int) -> list[Fitted]:
        """The temperature of each of several methods.

        Args:
            answers: asks them the dev rows; called only where a temperature can be fitted.
            count: how many methods there are.
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
