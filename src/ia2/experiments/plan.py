"""What a study computes: its units, what each holds, and what is shared within it."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from ia2.adapters.kind import AdapterKind
from ia2.adapters.registry import adapter_of
from ia2.errors import InputError
from ia2.experiments.baseline_names import check_labelled
from ia2.experiments.rows import read_context
from ia2.experiments.schema import Experiment
from ia2.experiments.schema_parts import Rows
from ia2.prompting.fewshot import FewShotSet
from ia2.tasks.files import load_queries
from ia2.tasks.task import Task
from ia2.training.methods import OTHER_BETAS, LabelSource, Method
from ia2.training.stage_tree import StageNode, stage_tree


@dataclass(frozen=True)
class Unit:
    """What is computed as a whole: everything of one model and one set shares targets and a bank."""

    model: str
    train: str
    """The task that is trained on."""
    evaluate: tuple[str, ...]
    n: int
    seed: int
    adapters: tuple[AdapterKind, ...]
    """The kinds that are trained."""
    rows: Rows
    """What is said of the rows of the task that is trained on."""

    @property
    def id(self) -> str:
        """A name that serves as a folder's."""
        # the whole of a path may be longer than a name can be
        model = Path(self.model).name if Path(self.model).is_absolute() else self.model
        model, train = (re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") for name in (model, self.train))
        return f"{model}-{train}-n{self.n}-set{self.seed}"

    def as_record(self) -> dict[str, Any]:
        """What is computed, as a study's folder says it; what makes no difference is put into one order."""
        rows_record = self.rows.model_dump(mode="json", exclude_defaults=True)
        return {
            "model": self.model,
            "train": self.train,
            "evaluate": sorted(self.evaluate),
            "n": self.n,
            "seed": self.seed,
            "adapters": sorted(map(_named, self.adapters)),
        } | ({"rows": rows_record} if rows_record else {})


@dataclass(frozen=True)
class Planned:
    """One adapter of a unit."""

    kind: AdapterKind
    method: Method
    """With its own β and label source."""
    label_source: LabelSource | None
    """What fine-tuning fits; None where the method fits none by itself, or stages of its own fit both."""
    learning_rate: float

    @property
    def id(self) -> str:
        """A name that serves as a file's, and is alone of its kind within a unit."""
        parts = [_named(self.kind), self.method.name]
        if self.label_source == "icl-response":
            parts.append("icl-response")
        if self.method.has_learning_rate:
            parts.append(f"lr{self.learning_rate:g}")
        if self.method.tries_betas:
            parts.append(f"beta{self.method.beta:g}")
        return "_".join(parts)


def _named(kind: AdapterKind) -> str:
    """An adapter with what of it is not as it is by default."""
    sizes = [
        f"-{name}{'+'.join(value) if isinstance(value, tuple) else value}" for name, value in kind.changed_sizes.items()
    ]
    return kind.kind + "".join(sizes)


def units(experiment: Experiment) -> list[Unit]:
    """Every unit of a study, the small ones of a model first.

    Raises:
        InputError: two models or tasks have names that make the same folder's.
    """
    sizes = sorted({n for source in experiment.tasks for n in experiment.n_of(source)})
    planned_units = [
        Unit(
            model,
            source.train,
            source.measured,
            n,
            seed,
            tuple(settings.adapter for settings in experiment.adapters_of(source)),
            source.rows,
        )
        for model in experiment.all_models
        for n in sizes
        for source in experiment.tasks
        if model in experiment.models_of(source) and n in experiment.n_of(source)
        for seed in range(experiment.first_seed, experiment.first_seed + experiment.sets)
    ]
    unit_of: dict[str, Unit] = {}
    for unit in planned_units:
        other = unit_of.setdefault(unit.id, unit)
        for part, first, second in (("models", other.model, unit.model), ("tasks", other.train, unit.train)):
            if first != second:
                raise InputError(
                    f"{part}: {first} and {second} would share the folder {unit.id}. Put them into two studies."
                )
    return planned_units


def check_sets(experiment: Experiment, data_dir: Path | None = None) -> tuple[str, ...]:
    """Draw every unit's set, so that what is missing is known before a model is loaded.

    Args:
        experiment: the study.
        data_dir: a folder of benchmark files instead of the hub.

    Returns:
        What was chosen for the person as files were read, in sentences.

    Raises:
        InputError: a task or a file can't be loaded, or has too few rows, or a baseline compares labels that a task
            hasn't got.
    """

    @cache
    def task_of(name: str) -> Task:
        return experiment.task(name, data_dir)

    every = units(experiment)
    notes: dict[str, None] = {}
    for unit in {(unit.train, unit.n, unit.seed): unit for unit in every}.values():
        task = task_of(unit.train)
        notes |= dict.fromkeys((*task.notes, *drawn(experiment, unit, task)[1]))
    for name in experiment.forgetting:
        notes |= dict.fromkeys(task_of(name).notes)
    for name in dict.fromkeys(name for unit in every for name in unit.evaluate):
        notes |= dict.fromkeys(task_of(name).notes)
        check_labelled(experiment.baselines, [task_of(name)])
    return tuple(notes)


def drawn(
    experiment: Experiment, unit: Unit, task: Task, rows: int | None = None
) -> tuple[FewShotSet, tuple[str, ...]]:
    """A unit's set, with what the study shows the teacher, and what is to be said of its rows and files.

    Args:
        experiment: the study.
        unit: one of its units.
        task: the task that is trained on.
        rows: the most evaluation rows.

    Raises:
        InputError: the task has too few rows, or a file can't be read or holds no text.
    """
    few_shot_set = FewShotSet.draw(
        task, unit.n, unit.seed, experiment.draw, nested=experiment.nested, dev_rows=experiment.dev_rows
    )
    few_shot_set = replace(few_shot_set, most_demonstrations=experiment.most_demonstrations)
    unlabelled: tuple[str, ...] = ()
    notes = few_shot_set.notes
    if unit.rows.unlabelled is not None:
        unlabelled, file_notes = load_queries(unit.rows.unlabelled, task, unit.rows.text, unit.rows.encoding)
        notes += file_notes
    if unit.rows.unlabelled_rows is not None:
        unlabelled = few_shot_set.unlabelled_of_pool(unit.rows.unlabelled_rows)
    context = read_context(experiment.context)
    few_shot_set = replace(few_shot_set, context=context, unlabelled=unlabelled, orders=unit.rows.orders)
    return few_shot_set.limited(rows), notes


def planned(experiment: Experiment, unit: Unit, betas: tuple[float, ...]) -> list[Planned]:
    """Every adapter of a unit.

    Args:
        experiment: the study.
        unit: one of its units.
        betas: the weights of the token loss that are tried where the study names none.
    """
    kinds = dict.fromkeys(unit.adapters)
    kinds |= dict.fromkeys(adapter_of(method.adapter, {}) for method in experiment.trained_methods if method.adapter)
    return [
        Planned(kind, candidate, labels, rate)
        for kind in kinds
        for labels, method in experiment.fitted_methods
        if (kind in unit.adapters if method.adapter is None else kind.kind == method.adapter)
        for candidate in method.candidates(experiment.betas or betas)
        for rate in (experiment.learning_rates or kind.learning_rates)[: None if candidate.has_learning_rate else 1]
    ]


def measured(experiment: Experiment, adapters: Iterable[Planned]) -> int:
    """How many of a unit's adapters are measured: all, or one of each kind and method."""
    several = list(adapters)
    if experiment.measure == "all":
        return len(several)
    return len({(adapter.kind, adapter.method.name, adapter.label_source) for adapter in several})


@dataclass(frozen=True)
class Counts:
    """How much a study computes."""

    units: int
    adapters: int
    stages: int
    """Training runs; a stage with which several adapters begin is one."""
    teacher_passes: int
    """Rows that the teacher answers."""
    evaluations: int
    """Of adapters and baselines, each on one task."""
    shared: tuple[str, ...]
    """Sentences on what is computed once for several."""


def unit_stages(adapters: Sequence[Planned]) -> list[StageNode[Planned]]:
    """What is trained for a unit's adapters, each stage with the adapters that it serves."""
    levels = stage_tree(adapters, lambda planned_adapter, stages: planned_adapter.kind)
    return [node for level in levels for node in level]


def counts(experiment: Experiment, betas: tuple[float, ...] = OTHER_BETAS) -> Counts:
    """Count what a study computes.

    Args:
        experiment: the study.
        betas: the weights of the token loss where the study names none; every family of models has as many.
    """
    adapters = stages = teacher_passes = evaluations = 0
    shared: dict[str, None] = {}
    for unit in units(experiment):
        unit_adapters = planned(experiment, unit, betas)
        trained = unit_stages(unit_adapters)
        adapters += len(unit_adapters)
        stages += len(trained)
        evaluations += (measured(experiment, unit_adapters) + len(experiment.baselines)) * len(unit.evaluate)
        evaluations += (measured(experiment, unit_adapters) + 1) * len(experiment.forgetting)
        # one that takes as many steps as another method is served by its stages, and doesn't begin with them
        served = [
            [plan for plan in node.plans if plan.method.stages[: len(node.key.stages)] == node.key.stages]
            for node in trained
        ]
        if several := [plans for plans in served if len(plans) > 1]:
            names = ", ".join(dict.fromkeys(plan.method.name for plans in several for plan in plans))
            those = "1 stage a unit serves" if len(several) == 1 else f"{len(several)} stages a unit serve"
            shared[f"{those} more than one adapter: {names} begin alike."] = None
        if any(adapter.method.needs_targets for adapter in unit_adapters):
            teacher_passes += unit.n + unit.n // 2
            shared["One teacher pass a unit serves all methods, learning rates and adapters."] = None
    return Counts(len(units(experiment)), adapters, stages, teacher_passes, evaluations, tuple(shared))


def described(experiment: Experiment) -> list[str]:
    """What a study computes, in sentences for people."""
    totals, every = counts(experiment), units(experiment)
    methods = ", ".join((*experiment.baselines, *(method.name for method in experiment.trained_methods)))
    each = sorted({len(planned(experiment, unit, OTHER_BETAS)) for unit in every})
    models, sources, sizes = (len({getattr(unit, part) for unit in every}) for part in ("model", "train", "n"))
    if models * sources * sizes * experiment.sets == len(every):
        product = f"{_several(models, 'model')} x {_several(sources, 'task')} x {sizes} N"
    else:
        product = f"{len(every) // experiment.sets} of a model, a task and an N"
    return [
        f"{experiment.name}: {experiment.description}".rstrip(": "),
        f"{_several(totals.units, 'unit')}: {product} x {_several(experiment.sets, 'set')}.",
        f"{' or '.join(map(str, each))} adapters a unit by {methods}: {totals.adapters} adapters, {totals.stages} "
        f"training runs, {totals.teacher_passes} rows for the teacher, {totals.evaluations} evaluations.",
        *totals.shared,
    ]


def _several(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
