"""Turns records into table cells: mean and standard deviation over sets, at the best learning rate and β."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ia2.adapters.registry import label
from ia2.records import Record
from ia2.reports.method_names import OF_ANY_ADAPTER, method_order
from ia2.reports.table import Number

Select = Literal["accuracy", "evaluated", "dev"]
MADE_WITH = ("dtype", "device", "revision", "sha256")
"""Model properties that must be the same in all records of a number."""
HASH = 12
"""Number of digits of a hash that are shown."""


@dataclass(frozen=True, order=True)
class Setting:
    """The setting of a table row: everything but the method."""

    model: str
    adapter: str
    """Kind of adapter, with its sizes."""
    label_source: str
    n: int
    source: str
    eval: str

    @property
    def out_of_distribution(self) -> bool:
        """Return whether the evaluation task differs from the training task."""
        return self.source != self.eval

    @property
    def listed(self) -> tuple[str | int | bool, ...]:
        """Return the setting's columns in CSV."""
        return (self.model, self.adapter, self.label_source, self.n, self.source, self.eval, self.out_of_distribution)


@dataclass(frozen=True)
class Result:
    """One method's results in one setting, over all sets."""

    setting: Setting
    method: str
    accuracy: tuple[float, ...]
    """Accuracy on each set, in [0, 1]."""
    ece: tuple[float, ...]
    """Expected calibration error on each set; empty for free-text responses."""
    asim: tuple[float, ...]
    lr: float | None
    """The best learning rate."""
    beta: float | None
    records: tuple[Record, ...]
    """The records behind the result, one per set."""

    @property
    def differing_in_words(self) -> str:
        """Return in words how the conditions of the records differ; empty if they don't."""
        return "; ".join(f"{name}: {', '.join(values)}" for name, values in differing(self).items())


def mean(values: Sequence[float]) -> float | None:
    """Return the mean; None if there are no values."""
    return statistics.fmean(values) if values else None


def deviation(values: Sequence[float], *, as_paper: bool = False) -> float:
    """Return the standard deviation over sets, with divisor n - 1 or the paper's n; 0 for a single set."""
    if len(values) < 2:
        return 0.0
    return statistics.pstdev(values) if as_paper else statistics.stdev(values)


def number_over_sets(cell: Result, measure: str, values: Sequence[float]) -> Number:
    """Return the CSV row of a mean over sets.

    Args:
        cell: the result.
        measure: name of the measure.
        values: one value per set; at least one.
    """
    return Number(
        *(cell.setting.listed, cell.method, measure),
        sets=len(values),
        records=cell.records,
        spread=deviation(values) if len(values) > 1 else None,
        lr=cell.lr,
        beta=cell.beta,
        differing=cell.differing_in_words,
    )


def differing(cell: Result) -> dict[str, list[str]]:
    """Return the conditions in which a result's records differ: precision, device, weights or library versions."""
    libraries = sorted({name for record in cell.records for name in record.versions})
    values = {name: {str(record.model.get(name))[:HASH] for record in cell.records} for name in MADE_WITH}
    values |= {name: {str(record.versions.get(name)) for record in cell.records} for name in libraries}
    return {name: sorted(distinct) for name, distinct in values.items() if len(distinct) > 1}


def cells(records: Iterable[Record], select: Select = "accuracy") -> list[Result]:
    """Return the results of all methods and settings, each at its best learning rate and β.

    Rows of models without an adapter (`zero-shot`, `icl`), or with their own kind (`mean-shift`), are repeated for each
    adapter and label source that they are compared with, if any. Rows of methods without labels (`ia2`) are repeated
    for each label source. Ties go to the lowest learning rate, then the lowest β. If accuracy on the source task
    decides but wasn't measured, the mean over the measured tasks does. Pairs that diverged on more sets than others
    aren't chosen: means over different sets can't be compared.

    Args:
        records: the study's records.
        select: the best pair has the highest mean accuracy on the source task's evaluation set (accuracy) or on the
            cell's own task (evaluated, as in the paper and its scripts), or the lowest mean dev loss, which uses no
            evaluation data (dev; PROTOCOL, Evaluation).
    """
    groups: dict[tuple[Any, ...], dict[tuple[float | None, float | None], list[Record]]] = defaultdict(
        lambda: defaultdict(list)
    )
    baselines: list[Record] = []
    for record in records:
        if record.adapter is None or record.method in OF_ANY_ADAPTER:
            baselines.append(record)
            continue
        options = record.options
        key = (
            record.model.id,
            label(record.adapter.sizes),
            options.label_source,
            options.set_n,
            record.task.train,
            record.method,
        )
        groups[key][record.lr, options.beta].append(record)
    measured: list[Result] = []
    for (model, adapter, labels, n, source, method), tried in groups.items():
        beside = [labels] if labels is not None else _label_sources(groups, model, adapter)
        for task in dict.fromkeys(record.task.eval for of_pair in tried.values() for record in of_pair):
            on_task = {
                pair: [record for record in of_pair if record.task.eval == task] for pair, of_pair in tried.items()
            }
            deciding = {pair: of_pair for pair, of_pair in on_task.items() if of_pair}
            lr, beta = _best(deciding if select == "evaluated" else tried, source, select)
            if not (task_records := on_task[lr, beta]):
                continue
            measured += [
                _cell(Setting(model, adapter, label_source, n, source, task), method, task_records, lr, beta)
                for label_source in beside
            ]
    compared = dict.fromkeys(cell.setting for cell in measured)
    beside_adapters = {(setting.model, setting.n, setting.source, setting.eval) for setting in compared}
    # also if adapters were only trained at another N, for example
    alone = [record for record in baselines if _measured_on(record) not in beside_adapters]
    for setting in (*compared, *_settings_of(alone)):
        alike = defaultdict(list)
        for record in baselines:
            if _measured_on(record) == (setting.model, setting.n, setting.source, setting.eval):
                alike[record.method].append(record)
        measured += [_cell(setting, method, method_records, None, None) for method, method_records in alike.items()]
    return measured


def by_model(cells: Iterable[Result]) -> dict[str, list[Result]]:
    """Return the results of each model, sorted by setting and then in the reports' order of methods."""
    models: dict[str, list[Result]] = defaultdict(list)
    for cell in cells:
        models[cell.setting.model].append(cell)
    return {
        model: sorted(results, key=lambda result: (result.setting, method_order(result.method)))
        for model, results in models.items()
    }


def _label_sources(groups: Iterable[tuple[Any, ...]], model: str, adapter: str) -> list[str]:
    """Return the label sources of other methods with the same adapter; a dash if there are none."""
    sources = dict.fromkeys(group[2] for group in groups if group[:2] == (model, adapter) and group[2] is not None)
    return list(sources) or ["–"]


def _best(
    tried: Mapping[tuple[float | None, float | None], Sequence[Record]], source: str, select: Select
) -> tuple[float | None, float | None]:
    def score(records: Sequence[Record]) -> float:
        if select == "dev":
            return statistics.fmean(record.options.dev_loss or 0.0 for record in records)
        at_home = [record for record in records if record.task.eval == source and select == "accuracy"] or records
        # values that only differ by the order of summation are ties
        return -round(statistics.fmean(record.metrics.accuracy or 0.0 for record in at_home), 12)

    sets = {key: len({record.seeds for record in records}) for key, records in tried.items()}
    widest = [key for key in tried if sets[key] == max(sets.values())]
    return min(widest, key=lambda key: (score(tried[key]), *(value if value is not None else 0.0 for value in key)))


def _cell(setting: Setting, method: str, records: Sequence[Record], lr: float | None, beta: float | None) -> Result:
    records = sorted(records, key=lambda record: record.seeds)

    def values(name: str) -> tuple[float, ...]:
        return tuple(record.metrics.get(name) for record in records if record.metrics.get(name) is not None)

    return Result(setting, method, values("accuracy"), values("ece"), values("asim"), lr, beta, tuple(records))


def _measured_on(record: Record) -> tuple[str, int | None, str | None, str]:
    """Return the model, N, source task and evaluation task."""
    return record.model.id, record.options.set_n, record.task.train, record.task.eval


def _settings_of(baselines: Sequence[Record]) -> list[Setting]:
    return list(
        dict.fromkeys(
            Setting(
                record.model.id,
                "–",
                "–",
                record.options.set_n or 0,
                record.task.train or "–",
                record.task.eval,
            )
            for record in baselines
        )
    )
