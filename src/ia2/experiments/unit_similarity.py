"""Attention similarity (asim) to in-context learning of a unit's model and adapters."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ia2.adapters.adapter import Adapter
from ia2.analysis.similarity import asim, greedy_activations, response_activations
from ia2.experiments.schema import Experiment
from ia2.experiments.shared_work import SharedWork, form_of, key_of
from ia2.experiments.unit_rows import UnitRows
from ia2.models.load import LanguageModel
from ia2.tasks.task import ContextItem


@dataclass
class UnitSimilarity:
    """Similarity to in-context learning on the compared rows of a unit's source task."""

    experiment: Experiment
    model: LanguageModel
    rows: UnitRows
    work: SharedWork
    in_context: list[Tensor] | None = None
    """In-context attention outputs at the responses of the compared rows, computed at first use."""

    def of(
        self, adapter: Adapter | None, *, in_context: bool = False, asked: str = "model"
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """Return the record's asim metrics and the seconds they took, even if another unit computed them.

        Args:
            adapter: the adapter to run with; None for the model alone.
            in_context: whether the set's demonstrations precede each query.
            asked: the adapter's cache key, or "model".
        """
        if not self.rows.compared:
            return {"asim": None}, {}
        few_shot_set, experiment = self.rows.few_shot_set, self.experiment
        settings = (in_context, experiment.asim_tokens, experiment.evaluate)
        demonstrations = tuple(few_shot_set.demonstrations())
        model = self.model.fingerprint
        key = key_of("asim", asked, model, form_of(few_shot_set.task), self.rows.compared, demonstrations, settings)
        if (cached := self.work.result(key)) is not None:
            return cached["metrics"], cached["seconds"]
        metrics, seconds = self._compared(adapter, in_context=in_context)
        if adapter is None or self.work.lasts:
            self.work.keep_result(key, {"metrics": metrics, "seconds": seconds})
        return metrics, seconds

    def _compared(self, adapter: Adapter | None, *, in_context: bool) -> tuple[dict[str, Any], dict[str, float]]:
        begun = time.perf_counter()
        if self.in_context is None:
            self.in_context = self._attention(self.rows.few_shot_set.demonstrations(), None)
        activations = self.in_context if in_context else self._attention((), adapter)
        metrics = asim(activations, self.in_context).metrics()
        return metrics, {"asim": time.perf_counter() - begun}

    def of_baseline(self, name: str) -> tuple[dict[str, Any], dict[str, float]]:
        """Return the same for a baseline.

        Recalibrated answers have the activations of ICL, and a classifier has none: both get no asim.
        """
        if name not in ("zero-shot", "icl", "context"):
            return {"asim": None}, {}
        return self.of(None, in_context=name != "zero-shot")

    def _attention(self, demonstrations: Sequence[ContextItem], adapter: Adapter | None) -> list[Tensor]:
        """Return attention outputs at the responses of the compared rows, one tensor per row."""
        task = self.rows.few_shot_set.task
        greedy = self.experiment.asim_tokens == "greedy" and task.response_kind == "text"
        return (greedy_activations if greedy else response_activations)(
            self.model,
            self.rows.compared,
            task,
            demonstrations=demonstrations,
            adapter=adapter,
            weights=self.experiment.evaluate,
        )
