"""What a study computes: its units, what each holds, and what is shared within it."""

import re
from collections.abc import Iterable
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
from ia2.training.methods import LabelSource, Method


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
    start: int | None = None
    """The seed of adapters' starting values, where it isn't that of the rows."""
    order: int | None = None
    """The seed of orders, where it isn't that of the rows."""

    @property
    def id(self) -> str:
        """A name that serves as a folder's."""
        # the whole of a path may be longer than a name can be
        model = Path(self.model).name if Path(self.model).is_absolute() else self.model
        model, train = (re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") for name in (model, self.train))
        apart = "".join(f"-{name}{seed}" for name, seed in self._seeds_apart.items())
        return f"{model}-{train}-n{self.n}-set{self.seed}{apart}"

    @property
    def _seeds_apart(self) -> dict[str, int]:
        """The seeds that aren't that of the rows, by what they decide."""
        seeds = {"start": self.start, "order": self.order}
        return {name: seed for name, seed in seeds.items() if seed is not None}

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
            **self._seeds_apart,
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
            draw.seed,
            tuple(settings.adapter for settings in experiment.adapters_of(source)),
            source.rows,
            draw.start,
            draw.order,
        )
        for model in experiment.all_models
        for n in sizes
        for source in experiment.tasks
        if model in experiment.models_of(source) and n in experiment.n_of(source)
        for draw in experiment.draws
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
    few_shot_set = replace(few_shot_set, start_seed=unit.start, order_seed=unit.order)
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
