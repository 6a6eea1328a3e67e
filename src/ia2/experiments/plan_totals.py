"""How much a study computes, as numbers and in sentences for people."""

from collections.abc import Sequence
from dataclasses import dataclass

from ia2.experiments.plan import Planned, measured, planned, units
from ia2.experiments.schema import Experiment
from ia2.training.methods import OTHER_BETAS
from ia2.training.stage_tree import StageNode, stage_tree


@dataclass(frozen=True)
class Counts:
    """How much a study computes."""

    units: int
    adapters: int
    stages: int
    """Training runs; a stage with which several adapters begin is one."""
    teacher_passes: int
    """Rows that the teacher answers; those of a file of texts without labels aren't counted."""
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
            those = "1 stage per unit is" if len(several) == 1 else f"{len(several)} stages per unit are"
            shared[f"{those} shared by several adapters: {names} start the same way."] = None
        if any(adapter.method.needs_targets for adapter in unit_adapters):
            dev_rows = unit.n // 2 if experiment.dev_rows is None else min(unit.n // 2, experiment.dev_rows)
            teacher_passes += unit.n + dev_rows + (unit.rows.unlabelled_rows or 0) * unit.rows.orders
            shared["One teacher pass per unit is shared by all methods, learning rates and adapters."] = None
    return Counts(len(units(experiment)), adapters, stages, teacher_passes, evaluations, tuple(shared))


def described(experiment: Experiment) -> list[str]:
    """What a study computes, in sentences for people."""
    totals, every = counts(experiment), units(experiment)
    methods = ", ".join((*experiment.baselines, *(method.name for method in experiment.trained_methods)))
    each = sorted({len(planned(experiment, unit, OTHER_BETAS)) for unit in every})
    models, sources, sizes = (len({getattr(unit, part) for unit in every}) for part in ("model", "train", "n"))
    draws = len(experiment.draws)
    if models * sources * sizes * draws == len(every):
        product = f"{_several(models, 'model')} x {_several(sources, 'task')} x {_several(sizes, 'value')} of N"
    else:
        product = f"{len(every) // draws} combinations of model, task and N"
    return [
        f"{experiment.name}: {experiment.description}".rstrip(": "),
        f"{_several(totals.units, 'unit')}: {product} x {_drawn(experiment)}.",
        f"{' or '.join(map(str, each))} adapters per unit with the methods {methods}. In total {totals.adapters} "
        f"adapters, {totals.stages} training runs, {totals.teacher_passes} teacher rows, {totals.evaluations} "
        "evaluations.",
        *totals.shared,
    ]


def _drawn(experiment: Experiment) -> str:
    """How many sets there are, and of what where their seeds are apart."""
    sets = _several(experiment.sets, "set")
    if (seeds := experiment.seeds) is None:
        return sets
    return f"{sets} of rows x {_several(seeds.start, 'initialisation')} x {_several(seeds.order, 'order')}"


def _several(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
