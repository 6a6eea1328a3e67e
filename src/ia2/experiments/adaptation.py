"""From a few-shot set to measured adapters on disk: the whole flow, once, for the command line and the demo."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ia2.adapters.adapter import Adapter
from ia2.adapters.kind import AdapterKind
from ia2.adapters.lora import LoRA
from ia2.adapters.provenance import Taught
from ia2.analysis.similarity import ROWS, asim, response_activations
from ia2.errors import InputError
from ia2.evaluation.evaluate import Asking, Evaluation, evaluate, evaluate_all
from ia2.evaluation.metrics import Binning
from ia2.inference.decoding import checked_prompts
from ia2.inference.label_scoring import LabelScoring
from ia2.models.load import LanguageModel
from ia2.models.sites import ATTENTION_OUTPUT, Site
from ia2.progress import SILENT, Progress
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.records import Record, task_record
from ia2.tasks.task import Example, Shown
from ia2.training.early_stopping import Training
from ia2.training.methods import Method, betas_for
from ia2.training.targets import Targets
from ia2.training.teacher import collect_targets
from ia2.training.train import Plan, Trained, comparable_loss, train_all


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is chosen for a whole adaptation; the defaults are PROTOCOL's."""

    learning_rates: tuple[float, ...] = ()
    """Each is trained; the best by dev loss is kept. By default the adapter's own."""
    adapter: AdapterKind = field(default_factory=LoRA)
    """The adapter's kind and size."""
    betas: tuple[float, ...] = ()
    """Weights of the token loss beside alignment, each tried at each rate. By default the model family's."""
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
        self._check_prompts()

    def _check_prompts(self) -> None:
        """Refuse texts that are too long before anything is computed. Raises InputError."""
        task, every = self.set.task, self.set.train + self.set.dev
        alone = PromptTokenizer.of(self.model.beside(self.virtual_tokens), task)
        if task.response_kind == "text":
            checked_prompts(alone, self.set.evaluation, [()] * len(self.set.evaluation), task)
        else:
            every += self.set.evaluation
        for row in every:
            alone.sequence(row.query, row.response)
        in_context = PromptTokenizer.of(self.model, task)
        for row in self.compared_rows:
            in_context.sequence(row.query, row.response, self.set.demonstrations())

    @property
    def virtual_tokens(self) -> int:
        """How many tokens the adapter puts before every text."""
        return getattr(self.settings.adapter, "tokens", 0)

    @property
    def compared_rows(self) -> tuple[Example, ...]:
        """The evaluation rows that similarity to in-context learning is measured on."""
        return self.set.task.at_most(self.set.evaluation, ROWS)

    def targets(self, sites: frozenset[Site]) -> Targets:
        """What the teacher does with this set at these sites; asked once."""
        if self._targets is None or not sites <= self._targets[0].sites:
            begun = time.perf_counter()
            targets = collect_targets(
                self.model,
                self.set,
                label_scoring=self.settings.label_scoring,
                sites=sites or (ATTENTION_OUTPUT,),
                progress=self.progress,
            )
            self._targets = (targets, time.perf_counter() - begun)
        return self._targets[0]

    def measure_baseline(self, name: str, demonstrations: Sequence[Shown]) -> dict[str, Any]:
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
                    asking=self._asking(f"evaluate {name}"),
                )
        return self._measure(
            name,
            evaluation,
            demonstrations=demonstrations,
            count=sum(isinstance(shown, Example) for shown in demonstrations),
            seconds=seconds,
        )

    def measure_methods(self, methods: Mapping[Method, str]) -> list[dict[str, Any]]:
        """Train all methods at all learning rates together; keep, save, measure and record each method's best.

        Args:
            methods: each with the folder, under this adaptation's, that its adapter is saved to.

        Raises:
            InputError: a method diverged at every learning rate.
        """
        targets = None
        if any(method.needs_targets for method in methods):
            targets = self.targets(frozenset[Site]().union(*(method.teacher_sites for method in methods)))
        plans = {method: self._plans(method, targets) for method in methods}
        every = [plan for own in plans.values() for plan in own]
        trained = train_all(
            self.model,
            every,
            adapter=self.settings.adapter,
            training=self.settings.training,
            memory=self.settings.memory,
            progress=self.progress,
        )
        found = iter(trained)
        tried = {
            method: [
                Tried(plan, one, comparable_loss(self.model, self.set, plan.method, one))
                for plan in own
                for one in [next(found)]
            ]
            for method, own in plans.items()
        }
        best = {method: self._best(method, own) for method, own in tried.items()}
        for method, folder in methods.items():
            best[method].trained.save(self.folder / folder)
            Taught.by(self.set, self.model).save(self.folder / folder)
        evaluations: list[Evaluation | None] = [None] * len(methods)
        begun = time.perf_counter()
        if self.set.evaluation:
            evaluations = list(
                evaluate_all(
                    self.model,
                    self.set.evaluation,
                    self.set.task,
                    [one.trained.adapter for one in best.values()],
                    self._asking(f"evaluate {', '.join(method.name for method in methods)}"),
                )
            )
        share = (time.perf_counter() - begun) / len(methods)
        records = []
        for (method, folder), evaluation in zip(methods.items(), evaluations, strict=True):
            seconds = {"train": sum(stage.seconds for one in tried[method] for stage in one.trained.stages)}
            if method.needs_targets and self._targets is not None:
                seconds["teacher"] = self._targets[1]
            if evaluation is not None:
                seconds["evaluate"] = share
            records.append(
                self._measure(
                    method.name,
                    evaluation,
                    best=best[method],
                    tried=tried[method],
                    adapter_folder=folder,
                    seconds=seconds,
                )
            )
        return records

    def _asking(self, phase: str) -> Asking:
        return Asking(label_scoring=self.settings.label_scoring, progress=self.progress, phase=phase)

    def _plans(self, method: Method, targets: Targets | None) -> list[Plan]:
        """The method at every learning rate and every weight of the token loss that it has."""
        settings = self.settings
        rates = settings.learning_rates or settings.adapter.learning_rates
        betas = settings.betas or betas_for(self.model.network.config.model_type)
        return [
            Plan(self.set, candidate, rate, targets)
            for candidate in method.candidates(betas)
            for rate in (rates if method.has_learning_rate else rates[:1])
        ]

    def _best(self, method: Method, tried: "Sequence[Tried]") -> "Tried":
        """The one with the lowest score; those that diverged are left out, which is said."""
        sound = [one for one in tried if not one.trained.diverged]
        gone = ", ".join(f"{rate:g}" for rate in sorted({one.plan.learning_rate for one in tried if one not in sound}))
        if not sound:
            raise InputError(f"--lr {gone}: {method.name} diverged, and there is no other rate. Name a smaller one.")
        if gone:
            self.progress.say(f"{method.name} diverged at the learning rate {gone}, which is left out.")
        return min(sound, key=lambda one: one.score)

    def _measure(
        self,
        name: str,
        evaluation: Evaluation | None,
        *,
        demonstrations: Sequence[Shown] = (),
        best: "Tried | None" = None,
        tried: Sequence["Tried"] = (),
        adapter_folder: str | None = None,
        count: int | None = None,
        seconds: dict[str, float] | None = None,
    ) -> dict[str, Any]:
        seconds = dict(seconds or {})
        trained = best.trained if best is not None else None
        adapter = trained.adapter if trained is not None else None
        metrics: dict[str, Any] = {"n": 0, "accuracy": None, "ece": None, "asim": None}
        rows: list[dict[str, Any]] = []
        if evaluation is not None:
            metrics = evaluation.metrics(self.settings.ece)
            rows = evaluation.rows()
            with _timed(seconds, "asim"):
                metrics |= self._similarity(demonstrations, adapter)
            tokenizer = PromptTokenizer.of(self.model, self.set.task)
            virtual = self.virtual_tokens if adapter is not None else 0
            shown = tokenizer.mean_prompt_tokens(self.set.evaluation, [demonstrations] * len(self.set.evaluation))
            metrics["prompt_tokens"] = shown + virtual
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
                **self.set.as_record(),
                "label_scoring": self.settings.label_scoring,
                "training": asdict(self.settings.training) if trained is not None else None,
                "label_sources": [stage.labels for stage in best.plan.method.stages] if best is not None else None,
                "beta": best.plan.method.beta if best is not None else None,
                "tried": [one.as_record() for one in tried],
                "selected_by": "dev" if tried else None,
            },
            notes=self.notes,
        )
        predictions = self.folder / "predictions" / f"{name}.jsonl"
        value = record.write(self.folder / "records" / f"{name}.json", predictions, rows)
        self.records.append(value)
        self.predictions[name] = rows
        return value

    def _similarity(self, demonstrations: Sequence[Shown], adapter: Adapter | None) -> dict[str, Any]:
        shown = self.set.demonstrations()
        if self._in_context is None:
            self._in_context = response_activations(self.model, self.compared_rows, self.set.task, demonstrations=shown)
        if adapter is None and tuple(demonstrations) == shown:
            ours = self._in_context
        else:
            ours = response_activations(
                self.model, self.compared_rows, self.set.task, demonstrations=demonstrations, adapter=adapter
            )
        return asim(ours, self._in_context).metrics()


@dataclass(frozen=True)
class Tried:
    """What was trained, as planned, and the dev loss by which it is compared."""

    plan: Plan
    trained: Trained
    score: float

    def as_record(self) -> dict[str, Any]:
        """What a record says of it; no dev loss where training diverged."""
        loss = None if self.trained.diverged else self.score
        return {"lr": self.trained.learning_rate, "beta": self.plan.method.beta, "dev_loss": loss}


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds[phase] = time.perf_counter() - begun
