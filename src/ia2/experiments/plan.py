"""What a study computes: its units, what each holds, and what is shared within it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ia2.adapters.kinds import AdapterKind
from ia2.experiments.config import Experiment
from ia2.methods import OTHER_BETAS, LabelSource, Method, Stage


@dataclass(frozen=True)
class Unit:
    """What is computed as a whole: everything of one model and one set shares targets and a bank."""

    model: str
    train: str
    """The task that is trained on."""
    evaluate: tuple[str, ...]
    n: int
    seed: int

    @property
    def id(self) -> str:
        """A name that serves as a folder's."""
        model = re.sub(r"[^A-Za-z0-9._-]+", "-", self.model).strip("-.")
        return f"{model}-{self.train}-n{self.n}-set{self.seed}"


@dataclass(frozen=True)
class Planned:
    """One adapter of a unit."""

    kind: AdapterKind
    method: Method
    """With its own β and label source."""
    label_source: LabelSource | None
    """What fine-tuning fits; None where the method fits no labels of its own."""
    learning_rate: float

    @property
    def id(self) -> str:
        """A name that serves as a file's, and is alone of its kind within a unit."""
        sizes = "-".join(f"{name}{value}" for name, value in _sizes(self.kind))
        parts = [self.kind.kind + (f"-{sizes}" if sizes else ""), self.method.name]
        if self.label_source == "icl-response":
            parts.append("icl-response")
        if self.method.has_learning_rate:
            parts.append(f"lr{self.learning_rate:g}")
        if self.method.tries_betas:
            parts.append(f"beta{self.method.beta:g}")
        return "_".join(parts)


def _sizes(kind: AdapterKind) -> list[tuple[str, str]]:
    """What of an adapter is not as it is by default."""
    usual = vars(type(kind)())
    return [
        (name, "+".join(value) if isinstance(value, tuple) else str(value))
        for name, value in vars(kind).items()
        if value != usual[name]
    ]


def units(experiment: Experiment) -> list[Unit]:
    """Every unit of a study, the small ones of a model first."""
    return [
        Unit(model, source.train, source.measured, n, seed)
        for model in experiment.models
        for n in sorted(set(experiment.n))
        for source in experiment.tasks
        for seed in range(experiment.sets)
    ]


def planned(experiment: Experiment, betas: tuple[float, ...]) -> list[Planned]:
    """Every adapter of a unit.

    Args:
        experiment: the study.
        betas: the weights of the token loss that are tried where the study names none.
    """
    found: dict[str, Planned] = {}
    for settings in experiment.adapters:
        kind = settings.adapter
        rates = experiment.learning_rates or kind.learning_rates
        for source, method in _with_labels(experiment):
            for candidate in method.candidates(experiment.betas or betas):
                for rate in rates if candidate.has_learning_rate else rates[:1]:
                    one = Planned(kind, candidate, source, rate)
                    found.setdefault(one.id, one)
    return list(found.values())


def _with_labels(experiment: Experiment) -> Iterator[tuple[LabelSource | None, Method]]:
    """Each method with each label source that makes a difference to it."""
    for method in experiment.trained_methods:
        seen: list[Method] = []
        for source in experiment.label_sources:
            changed = method.fine_tuned_on(source)
            if changed not in seen:
                seen.append(changed)
                same = method.fine_tuned_on("ground-truth") == method.fine_tuned_on("icl-response")
                yield None if same else source, changed


@dataclass(frozen=True)
class Counts:
    """How much a study computes."""

    units: int
    adapters: int
    stages: int
    """Training runs; a stage with which several methods begin is one."""
    teacher_passes: int
    """Rows that the teacher answers."""
    evaluations: int
    """Of adapters and baselines, each on one task."""
    shared: tuple[str, ...] = field(default=())
    """Sentences on what is computed once for several."""


def counts(experiment: Experiment, betas: tuple[float, ...] = OTHER_BETAS) -> Counts:
    """Count what a study computes."""
    every, adapters = units(experiment), planned(experiment, betas)
    stages: set[tuple[AdapterKind, tuple[Stage, ...], float | None]] = set()
    for one in adapters:
        for count in range(1, len(one.method.stages) + 1):
            own = not one.method.has_learning_rate
            stages.add((one.kind, one.method.stages[:count], None if own else one.learning_rate))
    separate = sum(len(one.method.stages) for one in adapters)
    asked = any(one.method.needs_targets for one in adapters)
    sentences = []
    if separate > len(stages):
        sentences.append(
            f"{separate - len(stages)} stages a unit serve more than one method: an IA2 stage serves IA2 and IA2→SFT."
        )
    if asked:
        sentences.append("One teacher pass a unit serves all methods, learning rates and adapters.")
    measured = len(adapters) + len(experiment.baselines)
    return Counts(
        units=len(every),
        adapters=len(adapters) * len(every),
        stages=len(stages) * len(every),
        teacher_passes=sum(unit.n + unit.n // 2 for unit in every) if asked else 0,
        evaluations=sum(measured * len(unit.evaluate) for unit in every),
        shared=tuple(sentences),
    )


def described(experiment: Experiment) -> list[str]:
    """What a study computes, in sentences for people."""
    found, adapters = counts(experiment), planned(experiment, OTHER_BETAS)
    methods = ", ".join((*experiment.baselines, *(method.name for method in experiment.trained_methods)))
    return [
        f"{experiment.name}: {experiment.description}".rstrip(": "),
        f"{found.units} units: {len(experiment.models)} models x {len(experiment.tasks)} tasks x "
        f"{len(set(experiment.n))} N x {experiment.sets} sets.",
        f"{len(adapters)} adapters a unit by {methods}: {found.adapters} adapters, {found.stages} training runs, "
        f"{found.teacher_passes} rows for the teacher, {found.evaluations} evaluations.",
        *found.shared,
    ]
