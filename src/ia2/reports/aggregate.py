"""From records to the cells of a table: mean and standard deviation over sets at the best learning rate and β."""

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
"""What of a model may not differ among the records of one number."""
HASH = 12
"""Letters of a hash that are shown."""


@dataclass(frozen=True, order=True)
class Setting:
    """What a row of a table is about: everything but the method."""

    model: str
    adapter: str
    """Kind and sizes."""
    label_source: str
    n: int
    source: str
    eval: str

    @property
    def out_of_distribution(self) -> bool:
        """Whether another task is measured than was trained on."""
        return self.source != self.eval

    @property
    def listed(self) -> tuple[str | int | bool, ...]:
        """As CSV has it, a column for each part."""
        return (self.model, self.adapter, self.label_source, self.n, self.source, self.eval, self.out_of_distribution)


@dataclass(frozen=True)
class Result:
    """A method in one setting, over the sets."""

    setting: Setting
    method: str
    accuracy: tuple[float, ...]
    """Of each set, in [0, 1]."""
    ece: tuple[float, ...]
    """Of each set; empty where responses are free text."""
    asim: tuple[float, ...]
    lr: float | None
    """The best learning rate."""
    beta: float | None
    records: tuple[Record, ...]
    """What it was computed from, a record for each set."""

    @property
    def differing_in_words(self) -> str:
        """What its records were made with differently, in words; empty where nothing is."""
        return "; ".join(f"{name}: {', '.join(values)}" for name, values in differing(self).items())


def mean(values: Sequence[float]) -> float | None:
    """The mean; None of nothing."""
    return statistics.fmean(values) if values else None


def deviation(values: Sequence[float], *, as_paper: bool = False) -> float:
    """The standard deviation over sets as a sample's (n - 1), or with the paper's divisor n; 0 of a single one."""
    if len(values) < 2:
        return 0.0
    return statistics.pstdev(values) if as_paper else statistics.stdev(values)


def number_over_sets(cell: Result, measure: str, values: Sequence[float]) -> Number:
    """What CSV lists of a mean over sets.

    Args:
        cell: what was measured.
        measure: what the values are of.
        values: one a set; at least one.
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
    """What the records of a number were made with differently: precision, device, weights or libraries' versions."""
    libraries = sorted({name for record in cell.records for name in record.versions})
    values = {name: {str(record.model.get(name))[:HASH] for record in cell.records} for name in MADE_WITH}
    values |= {name: {str(record.versions.get(name)) for record in cell.records} for name in libraries}
    return {name: sorted(distinct) for name, distinct in values.items() if len(distinct) > 1}


def cells(records: Iterable[Record], select: Select = "accuracy") -> list[Result]:
    """Every cell that records have, at the best learning rate and β of each.

    A model without adapters (`zero-shot`, `icl`), or with one of its own kind (`mean-shift`), stands beside each
    adapter and label source that it is compared with, and alone where no adapter came out; a method that fits no labels
    of its own (`ia2`) stands beside each label source. Of equally good pairs the one with the lowest learning rate is
    taken, then the one with the lowest β. Where accuracy on the source task decides and that wasn't measured, the mean
    over the tasks that were does. A pair that has fewer sets than another one, since it diverged on some, isn't chosen:
    means over other sets can't be compared.

    Args:
        records: a study's.
        select: whether the best has the highest mean accuracy on the source task's evaluation set (accuracy), on that
            of the very task that a cell is of (evaluated, as the paper and its scripts do), or the lowest mean dev
            loss, which never looks at either (dev; PROTOCOL, Evaluation).
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
    # also where adapters came out at another N alone, for example
    alone = [record for record in baselines if _measured_on(record) not in beside_adapters]
    for setting in (*compared, *_settings_of(alone)):
        alike = defaultdict(list)
        for record in baselines:
            if _measured_on(record) == (setting.model, setting.n, setting.source, setting.eval):
                alike[record.method].append(record)
        measured += [_cell(setting, method, method_records, None, None) for method, method_records in alike.items()]
    return measured


def by_model(cells: Iterable[Result]) -> dict[str, list[Result]]:
    """The results of each model, by setting and then in the order in which reports have methods."""
    models: dict[str, list[Result]] = defaultdict(list)
    for cell in cells:
        models[cell.setting.model].append(cell)
    return {
        model: sorted(results, key=lambda result: (result.setting, method_order(result.method)))
        for model, results in models.items()
    }


def _label_sources(groups: Iterable[tuple[Any, ...]], model: str, adapter: str) -> list[str]:
    """What other methods with the same adapter fit; a dash where there are none."""
    sources = dict.fromkeys(group[2] for group in groups if group[:2] == (model, adapter) and group[2] is not None)
    return list(sources) or ["–"]


def _best(
    tried: Mapping[tuple[float | None, float | None], Sequence[Record]], source: str, select: Select
) -> tuple[float | None, float | None]:
    def score(records: Sequence[Record]) -> float:
        if select == "dev":
            return statistics.fmean(record.options.dev_loss or 0.0 for record in records)
        at_home = [record for record in records if record.task.eval == source and select == "accuracy"] or records
        # sums in another order may differ in the last digits, which is a tie
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
    """Model, N, source and evaluation task."""
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
