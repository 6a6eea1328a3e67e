"""What several studies have in common: adapters that a shared store lets them train once."""

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
"""The settings of a study that its adapters depend on, beside each one's model, rows, kind, method and rate."""


def adapters_in_common(experiments: Iterable[Experiment]) -> tuple[int, int]:
    """How many adapters several studies train, and how many of them differ.

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
    """All that is known of each adapter of a study before its model and rows are."""
    for unit in units(experiment):
        setting = _setting(experiment, unit)
        for adapter in planned(experiment, unit, OTHER_BETAS):
            yield setting, _planned(adapter)


def _setting(experiment: Experiment, unit: Unit) -> str:
    benchmark = BENCHMARKS.get(unit.train) if unit.rows.data is None else None
    rows = benchmark.relevant(experiment.benchmark_options) if benchmark is not None else DEFAULTS
    teaching = [getattr(experiment, name) for name in TEACHING]
    if unit.rows.data is not None or (benchmark is not None and not benchmark.labels):
        teaching.append(experiment.teacher_stop)  # labels have no end that the teacher could write beyond
    seeds = (unit.seed, unit.start, unit.order)
    return repr((unit.model, unit.train, unit.n, seeds, unit.rows, rows, teaching))


def _planned(adapter: Planned) -> str:
    return repr((adapter.kind, adapter.method, adapter.label_source, adapter.learning_rate))
