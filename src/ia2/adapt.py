"""From a few-shot set to measured adapters on disk: the whole flow, once, for the command line and the demo."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ia2.adapters.adapter import Adapter
from ia2.adapters.kinds import AdapterKind, LoRA
from ia2.analysis.similarity import ROWS, asim, response_attention
from ia2.course import Training
from ia2.evaluation import Evaluation, evaluate, evaluate_all
from ia2.fewshot import FewShotSet
from ia2.labels import LabelScoring
from ia2.methods import Method
from ia2.metrics import Binning
from ia2.models.load import LanguageModel
from ia2.progress import SILENT, Progress
from ia2.records import Record, task_record
from ia2.tasks.task import Example
from ia2.teacher import Targets, collect_targets
from ia2.training import Plan, Trained, train_all


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is chosen for a whole adaptation; the defaults are PROTOCOL's."""

    learning_rates: tuple[float, ...] = ()
    """Each is trained; the best by dev loss is kept. By default the adapter's own."""
    adapter: AdapterKind = field(default_factory=LoRA)
    """The adapter's kind and size."""
    training: Training = field(default_factory=Training)
    """How long and in which batches."""
    label_scoring: LabelScoring = "token"
    """Whether the first token or the whole label decides."""
    memory: float | None = None
    """Bytes that training may take beyond the model; by default what is free, less a tenth."""
    ece: Binning = "equal-width"
    """How confidence is cut into bins."""


class Adaptation:
    """One model and one few-shot set, and everything that is measured of them; results go to a folder."""

    def __init__(
        self,
        model: LanguageModel,
        few_shot_set: FewShotSet,
        settings: Settings,
        folder: Path,
        *,
        notes: Sequence[str] = (),
        progress: Progress = SILENT,
    ) -> None:
        self.model, self.set, self.settings, self.folder = model, few_shot_set, settings, folder
        self.notes, self.progress = tuple(notes), progress
        self.records: list[dict[str, Any]] = []
        self.predictions: dict[str, list[dict[str, Any]]] = {}
        self._targets: tuple[Targets, float] | None = None
        self._in_context: list[Any] | None = None

    @property
    def compared_rows(self) -> tuple[Example, ...]:
        """The evaluation rows that similarity to in-context learning is measured on."""
        return self.set.evaluation[:ROWS]

    def targets(self) -> Targets:
        """What the teacher does with this set; asked once."""
        if self._targets is None:
            begun = time.perf_counter()
            targets = collect_targets(
                self.model, self.set, label_scoring=self.settings.label_scoring, progress=self.progress
            )
            self._targets = (targets, time.perf_counter() - begun)
        return self._targets[0]

    def measure_baseline(self, name: str, demonstrations: Sequence[Example]) -> dict[str, Any]:
        """Measure the model as it is, with these demonstrations in context or with none, and write the record."""
        evaluation: Evaluation | None = None
        seconds: dict[str, float] = {}
        if self.set.evaluation:
            with _timed(seconds, "evaluate"):
                evaluation = evaluate(
                    self.model,
                    self.set.evaluation,
                    self.set.task,
                    demonstrations=demonstrations,
                    label_scoring=self.settings.label_scoring,
                    progress=self.progress,
                    name=f"evaluate {name}",
                )
        return self._measure(
            name, evaluation, demonstrations=demonstrations, count=len(demonstrations), seconds=seconds
        )

    def measure_methods(self, methods: Mapping[Method, str]) -> list[dict[str, Any]]:
        """Train all methods at all learning rates together; keep, save, measure and record each method's best.

        Args:
            methods: each with the folder, under this adaptation's, that its adapter is saved to.
        """
        plans = [
            Plan(self.set, method, rate, self.targets() if method.needs_targets else None)
            for method in methods
            for rate in self.settings.learning_rates or self.settings.adapter.learning_rates
        ]
        trained = train_all(
            self.model,
            plans,
            adapter=self.settings.adapter,
            training=self.settings.training,
            memory=self.settings.memory,
            progress=self.progress,
        )
        tried = {
            method: [one for plan, one in zip(plans, trained, strict=True) if plan.method == method]
            for method in methods
        }
        best = {method: min(all_rates, key=lambda one: one.dev_loss) for method, all_rates in tried.items()}
        for method, folder in methods.items():
            best[method].save(self.folder / folder)
        evaluations: list[Evaluation | None] = [None] * len(methods)
        begun = time.perf_counter()
        if self.set.evaluation:
            evaluations = list(
                evaluate_all(
                    self.model,
                    self.set.evaluation,
                    self.set.task,
                    [one.adapter for one in best.values()],
                    label_scoring=self.settings.label_scoring,
                    progress=self.progress,
                    name=f"evaluate {', '.join(method.name for method in methods)}",
                )
            )
        share = (time.perf_counter() - begun) / len(methods)
        records = []
        for (method, folder), evaluation in zip(methods.items(), evaluations, strict=True):
            seconds = {"train": sum(stage.seconds for one in tried[method] for stage in one.stages)}
            if self._targets is not None and method.needs_targets:
                seconds["teacher"] = self._targets[1]
            if evaluation is not None:
                seconds["evaluate"] = share
            records.append(
                self._measure(
                    method.name,
                    evaluation,
                    trained=best[method],
                    tried=tried[method],
                    adapter_folder=folder,
                    seconds=seconds,
                )
            )
        return records

    def _measure(
        self,
        name: str,
        evaluation: Evaluation | None,
        *,
        demonstrations: Sequence[Example] = (),
        trained: Trained | None = None,
        tried: Sequence[Trained] = (),
        adapter_folder: str | None = None,
        count: int | None = None,
        seconds: dict[str, float] | None = None,
    ) -> dict[str, Any]:
        seconds = dict(seconds or {})
        adapter = trained.adapter if trained is not None else None
        metrics: dict[str, Any] = {"n": 0, "accuracy": None, "ece": None, "asim": None}
        rows: list[dict[str, Any]] = []
        if evaluation is not None:
            metrics = evaluation.metrics(self.settings.ece)
            rows = evaluation.rows()
            with _timed(seconds, "asim"):
                metrics |= self._similarity(demonstrations, adapter)
        record = Record(
            method=name,
            model=self.model.identity.as_record(),
            task=task_record(self.set.task, trained_on=self.set.task.name),
            n=self.set.n if count is None else count,
            seed=self.set.seed,
            lr=trained.learning_rate if trained is not None else None,
            adapter=self.settings.adapter.as_record(adapter_folder) if trained is not None else None,
            metrics=metrics,
            seconds={phase: round(value, 3) for phase, value in seconds.items()},
            stages=tuple(asdict(stage) for stage in (trained.stages if trained is not None else ())),
            options={
                "label_scoring": self.settings.label_scoring,
                "training": asdict(self.settings.training) if trained is not None else None,
                "dev_loss_by_learning_rate": {f"{one.learning_rate:g}": one.dev_loss for one in tried},
                "selected_by": "dev" if tried else None,
            },
            notes=self.notes,
        )
        predictions = self.folder / "predictions" / f"{name}.jsonl"
        value = record.write(self.folder / "records" / f"{name}.json", predictions, rows)
        self.records.append(value)
        self.predictions[name] = rows
        return value

    def _similarity(self, demonstrations: Sequence[Example], adapter: Adapter | None) -> dict[str, Any]:
        shown = self.set.demonstrations()
        if self._in_context is None:
            self._in_context = response_attention(self.model, self.compared_rows, self.set.task, demonstrations=shown)
        if adapter is None and tuple(demonstrations) == shown:
            ours = self._in_context
        else:
            ours = response_attention(
                self.model, self.compared_rows, self.set.task, demonstrations=demonstrations, adapter=adapter
            )
        return asim(ours, self._in_context).metrics()


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - begun
