"""Forgetting of a unit's adapters, measured on other tasks and a held-out text, with and without each adapter."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ia2.adapters.adapter import Adapter
from ia2.evaluation.evaluate import Evaluation
from ia2.evaluation.likelihood import mean_log_likelihood, windows_of
from ia2.experiments.candidates import Candidate
from ia2.experiments.unit_evaluator import UnitEvaluator
from ia2.models.sequences import TokenSequence


@dataclass
class UnitForgetting:
    """Measures forgetting for each adapter, and once for the model without one."""

    evaluator: UnitEvaluator
    _base_accuracy: dict[str, float] = field(default_factory=dict)
    """Accuracy of the model without an adapter, by task name."""
    _windows: list[TokenSequence] | None = None
    _base_log_likelihood: float | None = None

    def of(self, candidates: Sequence[Candidate]) -> tuple[list[dict[str, Any]], dict[str, float]]:
        """Return each adapter's forgetting metrics and the seconds per adapter; empty if the study asks for none."""
        rows = self.evaluator.rows
        if not candidates or not (rows.forgetting or rows.held_texts):
            return [{} for _ in candidates], {}
        begun = time.perf_counter()
        metrics: list[dict[str, Any]] = [{"forgetting": []} if rows.forgetting else {} for _ in candidates]
        for task in rows.forgetting:
            phase = "forgetting of {} on " + task.name
            answers = self.evaluator.of_adapters(candidates, task, task.evaluation, phase)
            if task.name not in self._base_accuracy:
                alone = self.evaluator.of_model(task, task.evaluation, phase.format("none"))
                self._base_accuracy[task.name] = _accuracy(alone.evaluation)
            for adapter_metrics, answered in zip(metrics, answers, strict=True):
                adapter_metrics["forgetting"].append(
                    {
                        "task": task.name,
                        "n": len(task.evaluation),
                        "accuracy": _accuracy(answered.evaluation),
                        "accuracy_without": self._base_accuracy[task.name],
                    }
                )
        for adapter_metrics, candidate in zip(metrics, candidates, strict=True):
            adapter_metrics |= self._likelihood(candidate.trained.adapter)
        return metrics, {"forgetting": (time.perf_counter() - begun) / len(candidates)}

    def _likelihood(self, adapter: Adapter) -> dict[str, Any]:
        """Return the mean log-likelihood of the held-out texts with and without an adapter."""
        model, weights = self.evaluator.model, self.evaluator.experiment.evaluate
        if self._windows is None:
            self._windows = windows_of(model, self.evaluator.rows.held_texts)
        if self._base_log_likelihood is None:
            self._base_log_likelihood = mean_log_likelihood(model, self._windows)
        return {
            "held_tokens": sum(len(window.response) for window in self._windows),
            "held_log_likelihood": mean_log_likelihood(model, self._windows, adapter, weights=weights),
            "held_log_likelihood_without": self._base_log_likelihood,
        }


def _accuracy(evaluation: Evaluation) -> float:
    """Return the accuracy, among the labels only if there are any: zero-shot, another token may be likelier."""
    metrics = evaluation.metrics()
    return float(metrics.get("label_accuracy", metrics["accuracy"]))
