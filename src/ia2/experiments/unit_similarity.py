"""How like in-context learning a unit's model is, with each of its adapters: what the teacher does is read once."""

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
from ia2.tasks.task import Shown


@dataclass
class UnitSimilarity:
    """Similarity to in-context learning on the compared rows of a unit's source task."""

    experiment: Experiment
    model: LanguageModel
    rows: UnitRows
    work: SharedWork
    in_context: list[Tensor] | None = None
    """The teacher's attention outputs at the responses of compared rows, once they were needed."""

    def of(
        self, adapter: Adapter | None, *, in_context: bool = False, asked: str = "model"
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """What a record says of asim, and the seconds that it took, also where that was for another unit.

        Args:
            adapter: runs on the model; None for the model as it is.
            in_context: whether the model sees what the set shows.
            asked: the key by which other units and studies know the adapter.
        """
        if not self.rows.compared:
            return {"asim": None}, {}
        few_shot_set, experiment = self.rows.few_shot_set, self.experiment
        how = (in_context, experiment.asim_tokens, experiment.evaluate)
        shown = tuple(few_shot_set.demonstrations())
        model = self.model.fingerprint
        key = key_of("asim", asked, model, form_of(few_shot_set.task), self.rows.compared, shown, how)
        if (known := self.work.result(key)) is not None:
            return known["metrics"], known["seconds"]
        metrics, seconds = self._compared(adapter, in_context=in_context)
        if adapter is None or self.work.lasts:
            self.work.keep_result(key, {"metrics": metrics, "seconds": seconds})
        return metrics, seconds

    def _compared(self, adapter: Adapter | None, *, in_context: bool) -> tuple[dict[str, Any], dict[str, float]]:
        begun = time.perf_counter()
        if self.in_context is None:
            self.in_context = self._attention(self.rows.few_shot_set.demonstrations(), None)
        ours = self.in_context if in_context else self._attention((), adapter)
        metrics = asim(ours, self.in_context).metrics()
        return metrics, {"asim": time.perf_counter() - begun}

    def of_baseline(self, name: str) -> tuple[dict[str, Any], dict[str, float]]:
        """The same of what trains no adapter.

        Answers that are recalibrated are of the same activations as those of ICL, and a classifier has none: these have
        no asim.
        """
        if name not in ("zero-shot", "icl", "context"):
            return {"asim": None}, {}
        return self.of(None, in_context=name != "zero-shot")

    def _attention(self, demonstrations: Sequence[Shown], adapter: Adapter | None) -> list[Tensor]:
        """Attention outputs at the responses of the compared rows, one tensor a row."""
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
