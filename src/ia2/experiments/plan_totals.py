"""Totals of what a study computes, as numbers and as sentences."""

from collections.abc import Sequence
from dataclasses import dataclass

from ia2.experiments.plan import Planned, measured, planned, units
from ia2.experiments.schema import Experiment
from ia2.training.methods import OTHER_BETAS
from ia2.training.stage_tree import StageNode, stage_tree


@dataclass(frozen=True)
class Counts:
    """Totals of what a study computes."""

    units: int
    adapters: int
    stages: int
    """Training runs; a stage shared by several adapters counts once."""
    teacher_passes: int
    """Rows that the teacher answers, not counting those of a file of unlabelled texts."""
    evaluations: int
    """Evaluations of an adapter or baseline on one task."""
    shared: tuple[str, ...]
    """Sentences on computations shared by several adapters."""


def unit_stages(adapters: Sequence[Planned]) -> list[StageNode[Planned]]:
    """Return the training stages of a unit, each with the adapters that use it."""
    levels = stage_tree(adapters, lambda planned_adapter, stages: planned_adapter.kind)
    return [node for level in levels for node in level]


def counts(experiment: Experiment, betas: tuple[float, ...] = OTHER_BETAS) -> Counts:
    """Count what a study computes.

    Args:
        experiment: the study.
        betas: weights of the token loss if the study names none; their number is the same for all model families.
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
        # a method that takes as many steps as another depends on its stages without starting with them
        adapters_of_stages = [
            [plan for plan in node.plans if plan.method.stages[: len(node.key.stages)] == node.key.stages]
            for node in trained
        ]
        if shared_stages := [plans for plans in adapters_of_stages if len(plans) > 1]:
            names = ", ".join(dict.fromkeys(plan.method.name for plans in shared_stages for plan in plans))
            stages_are = (
                "1 stage per unit is" if len(shared_stages) == 1 else f"{len(shared_stages)} stages per unit are"
            )
            shared[f"{stages_are} shared by several adapters: {names} start the same way."] = None
        if any(adapter.method.needs_targets for adapter in unit_adapters):
            dev_rows = unit.n // 2 if experiment.dev_rows is None else min(unit.n // 2, experiment.dev_rows)
            teacher_passes += unit.n + dev_rows + (unit.rows.unlabelled_rows or 0) * unit.rows.orders
            shared["One teacher pass per unit is shared by all methods, learning rates and adapters."] = None
    return Counts(len(units(experiment)), adapters, stages, teacher_passes, evaluations, tuple(shared))


def described(experiment: Experiment) -> list[str]:
    """Describe what a study computes, in sentences."""
    totals, every = counts(experiment), units(experiment)
    methods = ", ".join((*experiment.baselines, *(method.name for method in experiment.trained_methods)))
    per_unit = sorted({len(planned(experiment, unit, OTHER_BETAS)) for unit in every})
    models, sources, sizes = (len({getattr(unit, part) for unit in every}) for part in ("model", "train", "n"))
    draws = len(experiment.draws)
    if models * sources * sizes * draws == len(every):
        product = f"{_counted(models, 'model')} x {_counted(sources, 'task')} x {_counted(sizes, 'value')} of N"
    else:
        product = f"{len(every) // draws} combinations of model, task and N"
    return [
        f"{experiment.name}: {experiment.description}".rstrip(": "),
        f"{_counted(totals.units, 'unit')}: {product} x {_drawn(experiment)}.",
        f"{' or '.join(map(str, per_unit))} adapters per unit with the methods {methods}. In total "
        f"{totals.adapters} adapters, {totals.stages} training runs, {totals.teacher_passes} teacher rows, "
        f"{totals.evaluations} evaluations.",
        *totals.shared,
    ]


def _drawn(experiment: Experiment) -> str:
    """Describe the number of sets, and of starting values and orders if they have seeds of their own."""
    sets = _counted(experiment.sets, "set")
    if (seeds := experiment.seeds) is None:
        return sets
    return f"{sets} of rows x {_counted(seeds.start, 'initialisation')} x {_counted(seeds.order, 'order')}"


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
