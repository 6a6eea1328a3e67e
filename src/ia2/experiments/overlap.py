"""Adapters that several studies have in common, and that a shared store lets them train once."""

from collections.abc import Iterable, Iterator
from typing import Any

from ia2.experiments.plan import Planned, Unit, planned, units
from ia2.experiments.schema import Experiment
from ia2.tasks.benchmark import DEFAULTS
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.training.methods import OTHER_BETAS

TEACHING = (
    *("draw", "nested", "dev_rows", "context", "order", "most_demonstrations"),
    *("label_scoring", "chat", "dtype", "device", "load", "attention", "teacher_dtype", "training"),
)
"""Settings that a study's adapters depend on, besides each one's model, rows, kind, method and learning rate."""


def adapters_in_common(experiments: Iterable[Experiment]) -> tuple[int, int]:
    """Return how many adapters several studies train, and how many of these are distinct.

    Example:
        >>> settings = {"models": ["tiny"], "tasks": ["reviews"], "n": [4], "learning_rates": [0.001]}
        >>> first = Experiment(name="first", methods=["sft", "ia2"], **settings)
        >>> second = Experiment(name="second", methods=["sft", "ia2-sft"], **settings)
        >>> adapters_in_common([first, second])
        (20, 15)
    """
    every = [key for experiment in experiments for key in _adapters(experiment)]
    return len(every), len(set(every))


def _adapters(experiment: Experiment) -> Iterator[Any]:
    """Yield what identifies each adapter of a study before its model and rows are loaded."""
    for unit in units(experiment):
        setting = _setting(experiment, unit)
        for adapter in planned(experiment, unit, OTHER_BETAS):
            yield setting, _planned(adapter)


def _setting(experiment: Experiment, unit: Unit) -> str:
    benchmark = BENCHMARKS.get(unit.train) if unit.rows.data is None else None
    rows = benchmark.relevant(experiment.benchmark_options) if benchmark is not None else DEFAULTS
    settings = [getattr(experiment, name) for name in TEACHING]
    if unit.rows.data is not None or (benchmark is not None and not benchmark.labels):
        settings.append(experiment.teacher_stop)  # it matters for free text only
    seeds = (unit.seed, unit.start, unit.order)
    return repr((unit.model, unit.train, unit.n, seeds, unit.rows, rows, settings))


def _planned(adapter: Planned) -> str:
    return repr((adapter.kind, adapter.method, adapter.label_source, adapter.learning_rate))
