"""The plan of a study: its units, the adapters of each, and the few-shot set they share."""

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
    """One model and one few-shot set, computed as a whole: its adapters share teacher targets and a bank."""

    model: str
    train: str
    """The training task."""
    evaluate: tuple[str, ...]
    n: int
    seed: int
    adapters: tuple[AdapterKind, ...]
    """The adapter kinds to train."""
    rows: Rows
    """Row settings of the training task."""
    start: int | None = None
    """Seed of the adapters' initial values; by default the seed of the rows."""
    order: int | None = None
    """Seed of the orders of demonstrations and training rows; by default the seed of the rows."""

    @property
    def id(self) -> str:
        """Name of the unit, valid as a folder name."""
        # a whole path may be longer than a file name can be
        model = Path(self.model).name if Path(self.model).is_absolute() else self.model
        model, train = (re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.") for name in (model, self.train))
        seed_suffix = "".join(f"-{name}{seed}" for name, seed in self._seeds_apart.items())
        return f"{model}-{train}-n{self.n}-set{self.seed}{seed_suffix}"

    @property
    def _seeds_apart(self) -> dict[str, int]:
        """The seeds set apart from that of the rows, by purpose."""
        seeds = {"start": self.start, "order": self.order}
        return {name: seed for name, seed in seeds.items() if seed is not None}

    def as_record(self) -> dict[str, Any]:
        """Return the unit as stored in a study's folder; lists whose order doesn't matter are sorted."""
        rows_record = self.rows.model_dump(mode="json", exclude_defaults=True)
        return {
            "model": self.model,
            "train": self.train,
            "evaluate": sorted(self.evaluate),
            "n": self.n,
            "seed": self.seed,
            "adapters": sorted(map(_kind_name, self.adapters)),
            **self._seeds_apart,
        } | ({"rows": rows_record} if rows_record else {})


@dataclass(frozen=True)
class Planned:
    """One adapter to train in a unit."""

    kind: AdapterKind
    method: Method
    """The method, with this adapter's β and label source."""
    label_source: LabelSource | None
    """Label source of fine-tuning; None if the method has no token loss, or its stages use both sources."""
    learning_rate: float

    @property
    def id(self) -> str:
        """Name of the adapter, unique within its unit and valid as a file name."""
        parts = [_kind_name(self.kind), self.method.name]
        if self.label_source == "icl-response":
            parts.append("icl-response")
        if self.method.has_learning_rate:
            parts.append(f"lr{self.learning_rate:g}")
        if self.method.tries_betas:
            parts.append(f"beta{self.method.beta:g}")
        return "_".join(parts)


def _kind_name(kind: AdapterKind) -> str:
    """Return the name of an adapter kind, with the sizes that differ from the defaults."""
    sizes = [
        f"-{name}{'+'.join(value) if isinstance(value, tuple) else value}" for name, value in kind.changed_sizes.items()
    ]
    return kind.kind + "".join(sizes)


def units(experiment: Experiment) -> list[Unit]:
    """Return every unit of a study, grouped by model, with small N first.

    Raises:
        InputError: the names of two models or tasks give the same folder name.
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
    """Draw every unit's set, so that missing rows or files are reported before a model is loaded.

    Args:
        experiment: the study.
        data_dir: a folder of benchmark files instead of the hub.

    Returns:
        The choices made for the user while files were read, one sentence each.

    Raises:
        InputError: a task or a file can't be loaded, or has too few rows, or a baseline compares labels and a task has
            none.
    """

    @cache
    def task_of(name: str) -> Task:
        return experiment.task(name, data_dir)

    all_units = units(experiment)
    notes: dict[str, None] = {}
    for unit in {(unit.train, unit.n, unit.seed): unit for unit in all_units}.values():
        task = task_of(unit.train)
        notes |= dict.fromkeys((*task.notes, *drawn(experiment, unit, task)[1]))
    for name in experiment.forgetting:
        notes |= dict.fromkeys(task_of(name).notes)
    for name in dict.fromkeys(name for unit in all_units for name in unit.evaluate):
        notes |= dict.fromkeys(task_of(name).notes)
        check_labelled(experiment.baselines, [task_of(name)])
    return tuple(notes)


def drawn(
    experiment: Experiment, unit: Unit, task: Task, rows: int | None = None
) -> tuple[FewShotSet, tuple[str, ...]]:
    """Draw a unit's set, with the study's context and unlabelled texts; return it with notes on its rows and files.

    Args:
        experiment: the study.
        unit: one of its units.
        task: the training task.
        rows: maximum number of evaluation rows.

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
    """Return every adapter to train in a unit.

    Args:
        experiment: the study.
        unit: one of its units.
        betas: weights of the token loss to try if the study names none.
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
    """Return how many of a unit's adapters are evaluated: all, or one per kind, method and label source."""
    unit_adapters = list(adapters)
    if experiment.measure == "all":
        return len(unit_adapters)
    return len({(adapter.kind, adapter.method.name, adapter.label_source) for adapter in unit_adapters})
