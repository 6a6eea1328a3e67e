"""One unit of a study computed: the teacher, every adapter in banks, the evaluations, and a record for each."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ia2.adapters.provenance import Taught
from ia2.analysis.similarity import asim, response_activations
from ia2.evaluation.evaluate import Asking, Evaluation, PerQuery, evaluate, evaluate_all
from ia2.experiments.plan import Planned, Unit, planned
from ia2.experiments.schema import Experiment
from ia2.experiments.store import ADAPTERS, PREDICTIONS, RECORDS
from ia2.models.load import LanguageModel
from ia2.models.memory import steady_bytes
from ia2.models.sites import ATTENTION_OUTPUT
from ia2.progress import Progress
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.records import Record, task_record
from ia2.tasks.task import Example, Shown, Task
from ia2.training.methods import betas_for
from ia2.training.teacher import collect_targets
from ia2.training.train import Plan, Trained, comparable_loss, train_all

UNMEASURED: Mapping[str, Any] = {"n": 0, "accuracy": None, "ece": None, "asim": None}
"""The metrics of an adapter whose training diverged."""


def compute(
    experiment: Experiment,
    unit: Unit,
    model: LanguageModel,
    folder: Path,
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    cache_dir: Path | None = None,
    progress: Progress,
) -> None:
    """Compute everything of a unit and write it as a study's folder holds it.

    Args:
        experiment: the study.
        unit: which part of it.
        model: the unit's model.
        folder: where records, predictions and adapters go.
        data_dir: a folder of benchmark files instead of the hub.
        limit: the most evaluation rows, where the study has no smaller number.
        cache_dir: where the teacher's targets are kept; by default the project's cache folder.
        progress: told what is going on.

    Raises:
        InputError: a task can't be loaded or has too few rows, or the model can't read a prompt.
    """
    _Computation(experiment, unit, model, folder, data_dir, limit, cache_dir, progress).run()


class _Computation:
    def __init__(
        self,
        experiment: Experiment,
        unit: Unit,
        model: LanguageModel,
        folder: Path,
        data_dir: Path | None,
        limit: int | None,
        cache_dir: Path | None,
        progress: Progress,
    ) -> None:
        self.experiment, self.unit, self.model, self.folder = experiment, unit, model, folder
        self.cache_dir, self.progress = cache_dir, progress
        rows = min((value for value in (experiment.rows, limit) if value is not None), default=None)
        self.set = FewShotSet.draw(experiment.task(unit.train, data_dir), unit.n, unit.seed).limited(rows)
        self.measured = [
            self.set.task.limited(rows) if name == unit.train else experiment.task(name, data_dir).limited(rows)
            for name in unit.evaluate
        ]
        self.shown = self.set.demonstrations()
        self.compared = self.set.evaluation[: experiment.asim_rows]
        self.in_context: list[Any] | None = None

    def rows_of(self, task: Task) -> tuple[Example, ...]:
        """What is measured of a task; a set may leave over what its own task has no other rows for."""
        return self.set.evaluation if task.name == self.unit.train else task.evaluation

    def run(self) -> None:
        """Compute and write."""
        for name in self.experiment.baselines:
            self.measure_baseline(name)
        adapters = planned(self.experiment, self.unit, betas_for(self.model.network.config.model_type))
        asked = [one for one in adapters if one.method.needs_targets]
        seconds: dict[str, float] = {}
        targets = None
        if asked:
            begun = time.perf_counter()
            targets = collect_targets(
                self.model,
                self.set,
                label_scoring=self.experiment.label_scoring,
                teacher_stop=self.experiment.teacher_stop,
                sites=frozenset().union(*(one.method.teacher_sites for one in asked)) or (ATTENTION_OUTPUT,),
                cache_dir=self.cache_dir,
                progress=self.progress,
            )
            seconds["teacher"] = time.perf_counter() - begun
        for kind in dict.fromkeys(one.kind for one in adapters):
            own = [one for one in adapters if one.kind == kind]
            trained = train_all(
                self.model,
                [Plan(self.set, one.method, one.learning_rate, targets) for one in own],
                adapter=kind,
                training=self.experiment.training.training,
                memory=steady_bytes(self.model.network),
                progress=self.progress,
            )
            pairs = list(zip(own, trained, strict=True))
            self.measure_adapters([pair for pair in pairs if not pair[1].diverged], seconds)
            self.note_diverged([pair for pair in pairs if pair[1].diverged], seconds)

    def measure_baseline(self, name: str) -> None:
        """The model as it is, without demonstrations or with the set's."""
        shown = self.shown if name == "icl" else ()
        similarity, spent = self.similarity(None, in_context=bool(shown))
        for task in self.measured:
            begun = time.perf_counter()
            contexts = self.contexts(task) if shown else [()] * len(self.rows_of(task))
            evaluation = evaluate(
                self.model,
                self.rows_of(task),
                task,
                demonstrations=PerQuery(contexts),
                asking=self.asking(f"evaluate {name} on {task.name}"),
            )
            seconds = {"evaluate": time.perf_counter() - begun} | spent
            self.write(name, name, task, evaluation, similarity, seconds, contexts=contexts)

    def asking(self, phase: str) -> Asking:
        """How rows are asked."""
        return Asking(
            label_scoring=self.experiment.label_scoring,
            confidence=self.experiment.confidence,
            progress=self.progress,
            phase=phase,
        )

    def contexts(self, task: Task) -> Sequence[Sequence[Shown]]:
        """What is shown before each query in context: the set's demonstrations, or others for each."""
        queries = len(self.rows_of(task))
        if self.experiment.demonstrations == "shared":
            return [self.shown] * queries
        return self.set.resampled_contexts(queries)

    def note_diverged(self, pairs: Sequence[tuple[Planned, Trained]], seconds: dict[str, float]) -> None:
        """Adapters whose training diverged: recorded, so that none is trained again, and so that reports know."""
        if pairs:
            names = ", ".join(one.id for one, _ in pairs)
            self.progress.say(f"{names}: training diverged, recorded without metrics.")
        for one, made in pairs:
            spent = _training_seconds(one, made, seconds)
            for task in self.measured:
                self.write(one.id, one.method.name, task, None, {}, spent, one=one, trained=made)

    def measure_adapters(self, pairs: Sequence[tuple[Planned, Trained]], seconds: dict[str, float]) -> None:
        """Every adapter of a kind: saved, measured on every task, and compared with in-context learning."""
        if not pairs:
            return
        similarities = [self.similarity(made) for _, made in pairs]
        for one, made in pairs:
            made.save(self.folder / ADAPTERS / self.unit.id / one.id)
            Taught.by(self.set, self.model).save(self.folder / ADAPTERS / self.unit.id / one.id)
        for task in self.measured:
            begun = time.perf_counter()
            evaluations = evaluate_all(
                self.model,
                self.rows_of(task),
                task,
                [made.adapter for _, made in pairs],
                self.asking(f"evaluate {len(pairs)} adapters on {task.name}"),
            )
            share = (time.perf_counter() - begun) / len(pairs)
            for (one, made), evaluation, (similarity, spent) in zip(pairs, evaluations, similarities, strict=True):
                own = _training_seconds(one, made, seconds) | {"evaluate": share} | spent
                self.write(one.id, one.method.name, task, evaluation, similarity, own, one=one, trained=made)

    def similarity(
        self, trained: Trained | None, *, in_context: bool = False
    ) -> tuple[dict[str, Any], dict[str, float]]:
        """Asim to in-context learning on rows of the source task, and the seconds that it took."""
        if not self.compared:
            return {"asim": None}, {}
        begun = time.perf_counter()
        if self.in_context is None:
            self.in_context = response_activations(self.model, self.compared, self.set.task, demonstrations=self.shown)
        ours = self.in_context
        if not in_context:
            adapter = trained.adapter if trained is not None else None
            ours = response_activations(self.model, self.compared, self.set.task, adapter=adapter)
        return asim(ours, self.in_context).metrics(), {"asim": time.perf_counter() - begun}

    def write(
        self,
        file: str,
        method: str,
        task: Task,
        evaluation: Evaluation | None,
        similarity: dict[str, Any],
        seconds: dict[str, float],
        *,
        contexts: Sequence[Sequence[Shown]] = (),
        one: Planned | None = None,
        trained: Trained | None = None,
    ) -> None:
        """A record and its predictions; those of an adapter whose training diverged are empty."""
        experiment, unit = self.experiment, self.unit
        tokenizer, rows = PromptTokenizer.of(self.model, task), self.rows_of(task)
        tokens = tokenizer.mean_prompt_tokens(rows, contexts or [()] * len(rows))
        kind = one.kind if one is not None else None
        stem = f"{file}_on_{task.name}"
        path = f"{ADAPTERS}/{unit.id}/{file}" if evaluation is not None else None
        measured = evaluation.metrics(experiment.ece) if evaluation is not None else dict(UNMEASURED)
        record = Record(
            method=method,
            model=self.model.identity.as_record(),
            task=task_record(task, trained_on=unit.train),
            n=unit.n if trained is not None else len(contexts[0]),
            seed=unit.seed,
            lr=trained.learning_rate if trained is not None else None,
            adapter=kind.as_record(path) if kind is not None else None,
            metrics=measured | similarity | {"prompt_tokens": tokens + getattr(kind, "tokens", 0)},
            seconds={phase: round(value, 3) for phase, value in seconds.items()},
            stages=tuple(asdict(stage) for stage in (trained.stages if trained is not None else ())),
            options={
                "experiment": experiment.name,
                "unit": unit.id,
                "set_n": unit.n,
                "label_scoring": experiment.label_scoring,
                "confidence": experiment.confidence,
                "demonstrations": experiment.demonstrations if method == "icl" else None,
                "teacher_stop": experiment.teacher_stop,
                "benchmark_options": {
                    name: getattr(experiment.benchmark_options, name)
                    for name in sorted(experiment.benchmark_options.changed)
                },
                "label_source": one.label_source if one is not None else None,
                "beta": one.method.beta if one is not None else None,
                "dev_loss": comparable_loss(self.model, self.set, one.method, trained)
                if one is not None and trained is not None and not trained.diverged
                else None,
                "training": asdict(replace(experiment.training.training)) if trained is not None else None,
            },
            notes=(*self.model.notes, *task.notes),
        )
        predictions = self.folder / PREDICTIONS / unit.id / f"{stem}.jsonl"
        answered = evaluation.rows() if evaluation is not None else []
        record.write(self.folder / RECORDS / unit.id / f"{stem}.json", predictions, answered)


def _training_seconds(one: Planned, made: Trained, seconds: dict[str, float]) -> dict[str, float]:
    """The seconds that an adapter's training took, with the teacher's where the method asks it."""
    return {"train": sum(stage.seconds for stage in made.stages)} | (seconds if one.method.needs_targets else {})
