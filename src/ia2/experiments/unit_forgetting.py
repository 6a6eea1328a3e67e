"""What a unit's adapters forget: other tasks and a held text, with and without each of them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ia2.adapters.adapter import Adapter
from ia2.evaluation.evaluate import Evaluation
from ia2.evaluation.likelihood import mean_log_likelihood, windows_of
from ia2.experiments.candidates import Candidate
from ia2.experiments.unit_asking import UnitAsking
from ia2.models.sequences import TokenSequence


@dataclass
class UnitForgetting:
    """Measured for each adapter, and once for the model without any."""

    asking: UnitAsking
    _without: dict[str, float] = field(default_factory=dict)
    """The model's own accuracy in each task."""
    _held: list[TokenSequence] | None = None
    _held_without: float | None = None

    def of(self, candidates: Sequence[Candidate]) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """What a record says of each adapter's forgetting, and the seconds of each; nothing where none is asked for."""
        rows = self.asking.rows
        if not candidates or not (rows.forgetting or rows.held_texts):
            return [{} for _ in candidates], {}
        begun = time.perf_counter()
        metrics: list[dict[str, Any]] = [{"forgetting": []} if rows.forgetting else {} for _ in candidates]
        for task in rows.forgetting:
            phase = "forgetting of {} on " + task.name
            answers = self.asking.of_adapters(candidates, task, task.evaluation, phase)
            if task.name not in self._without:
                alone = self.asking.of_model(task, task.evaluation, phase.format("none"))
                self._without[task.name] = _accuracy(alone.evaluation)
            for of_adapter, answered in zip(metrics, answers, strict=True):
                of_adapter["forgetting"].append(
                    {
                        "task": task.name,
                        "n": len(task.evaluation),
                        "accuracy": _accuracy(answered.evaluation),
                        "accuracy_without": self._without[task.name],
                    }
                )
        for of_adapter, candidate in zip(metrics, candidates, strict=True):
            of_adapter |= self._likelihood(candidate.trained.adapter)
        return metrics, {"forgetting": (time.perf_counter() - begun) / len(candidates)}

    def _likelihood(self, adapter: Adapter) -> dict[str, Any]:
        """The mean log-likelihood of the held texts with an adapter and without."""
        model, weights = self.asking.model, self.asking.experiment.evaluate
        if self._held is None:
            self._held = windows_of(model, self.asking.rows.held_texts)
        if self._held_without is None:
            self._held_without = mean_log_likelihood(model, self._held)
        return {
            "held_tokens": sum(len(window.response) for window in self._held),
            "held_log_likelihood": mean_log_likelihood(model, self._held, adapter, weights=weights),
            "held_log_likelihood_without": self._held_without,
        }


def _accuracy(evaluation: Evaluation) -> float:
    """Of the likeliest label, where there are labels: a model that was told of none may find another token likelier."""
    metrics = evaluation.metrics()
    return float(metrics.get("label_accuracy", metrics["accuracy"]))
