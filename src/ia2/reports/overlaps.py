"""Subspace overlap of two methods' weight updates, as curves over layers and as a table."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ia2.adapters.adapter import Adapter
from ia2.analysis.subspace import subspace_overlap
from ia2.records import Record
from ia2.reports.aggregate import Result, deviation
from ia2.reports.known_overlaps import KnownOverlap, Paths
from ia2.reports.method_names import METHOD_NAMES, method_order
from ia2.reports.table import Column, Number, Table, Value

Group = tuple[str, str, str]
"""Model, adapter with its sizes, and label source."""
Pair = tuple[str, str]
Curve = Mapping[int, float]
"""Overlap at each layer."""
COLUMNS = (
    *(Column("model"), Column("adapter"), Column("labels"), Column("first"), Column("second"), Column("pairs", "d")),
    *(Column("overlap", ".3f"), Column("standard deviation", ".3f")),
    Column("by chance", ".3f"),
)


@dataclass(frozen=True)
class SetOverlap:
    """Subspace overlap of two methods' weight updates, for adapters trained on the same set."""

    model: str
    adapter: str
    label_source: str
    n: int
    source: str
    records: tuple[Record, Record]
    """Record of the first and of the second method."""
    shared: KnownOverlap

    @property
    def methods(self) -> Pair:
        """Return the two methods, in the reports' order."""
        first, second = self.records
        return first.method, second.method


def overlaps_of(
    cells: Iterable[Result], folder: Path, known: Mapping[Paths, KnownOverlap] = MappingProxyType({})
) -> list[SetOverlap]:
    """Return the overlap of every two methods that were trained on the same set.

    Args:
        cells: the study's results, at the best learning rate of each method.
        folder: the study's folder with the adapters.
        known: overlaps that were computed before; their adapters aren't read and may be missing.

    Raises:
        InputError: a saved adapter can't be read.
    """

    @cache
    def saved(path: str) -> Adapter | None:
        return Adapter.load(folder / path) if (folder / path).is_dir() else None

    overlaps = []
    for (model, adapter, labels, n, source, _seeds), records in adapters_of(cells).items():
        for first, second in combinations(sorted(records, key=method_order), 2):
            pair = records[first], records[second]
            shared = known.get(paths_of(pair))
            if shared is None:
                ours, theirs = map(saved, paths_of(pair))
                if ours is None or theirs is None:
                    continue
                shared = KnownOverlap.of(subspace_overlap(ours, theirs))
            overlaps.append(SetOverlap(model, adapter, labels, n, source, pair, shared))
        saved.cache_clear()  # adapters are only compared within a set
    return overlaps


def paths_of(records: tuple[Record, Record]) -> Paths:
    """Return the paths of two records' adapters."""
    first, second = (str(record.adapter.path) for record in records if record.adapter)
    return first, second


def curves_of(overlaps: Iterable[SetOverlap]) -> dict[Group, dict[Pair, list[Curve]]]:
    """Return a curve over layers for each set and pair of methods."""
    curves: dict[Group, dict[Pair, list[Curve]]] = defaultdict(lambda: defaultdict(list))
    for overlap in overlaps:
        group = overlap.model, overlap.adapter, overlap.label_source
        curves[group][overlap.methods].append(overlap.shared.by_layer)
    return {group: dict(of_pair) for group, of_pair in curves.items()}


def adapters_of(cells: Iterable[Result]) -> dict[tuple[Any, ...], dict[str, Record]]:
    """Return a record of each method's adapter on a set; evaluation on several tasks counts as one adapter."""
    records: dict[tuple[Any, ...], dict[str, Record]] = defaultdict(dict)
    for cell in cells:
        for record in cell.records:
            adapter = record.adapter
            # adapters without a path weren't saved
            if adapter and adapter.kind == "lora" and not adapter.get("dora") and adapter.path:
                setting = cell.setting
                key = (setting.model, setting.adapter, setting.label_source, setting.n, setting.source, record.seeds)
                records[key].setdefault(cell.method, record)
    return records


def overlap_table(overlaps: Iterable[SetOverlap]) -> list[Table]:
    """Return a table of the mean overlap of each pair of methods (Figure 4 as numbers); none without overlaps."""
    alike: dict[tuple[Group, Pair], list[SetOverlap]] = defaultdict(list)
    for overlap in overlaps:
        alike[(overlap.model, overlap.adapter, overlap.label_source), overlap.methods].append(overlap)
    rows = []
    for ((model, adapter, labels), pair), of_pair in alike.items():
        means = [overlap.shared.mean for overlap in of_pair]
        average, spread = statistics.fmean(means), deviation(means) if len(means) > 1 else None
        number = Number(
            (model, adapter, labels, "", "", "", ""), " and ".join(pair), "overlap", sets=len(means), spread=spread
        )
        names = (METHOD_NAMES.get(method, method) for method in pair)
        named: tuple[Value, ...] = (model, adapter, labels, *names, len(means))
        cells = [column.cell(value) for column, value in zip(COLUMNS, named, strict=False)]
        of_random = statistics.fmean(overlap.shared.of_random for overlap in of_pair)
        *_, shared, deviating, by_chance = COLUMNS
        rows.append((*cells, shared.cell(average, number), deviating.cell(spread), by_chance.cell(of_random)))
    if not rows:
        return []
    caption = (
        "Overlap of the subspaces of two methods' weight updates, from 0 (orthogonal) to 1 (equal), for adapters "
        "trained on the same set: averaged over modules and layers, then over sets, N and tasks. by chance: the mean "
        "overlap of random subspaces of the same dimensions."
    )
    table = Table("Subspace overlap", caption, COLUMNS, tuple(rows))
    return [table.without_empty_columns(("model", "adapter", "labels"))]


def group_name(group: Group) -> str:
    """Return the group in words."""
    model, adapter, labels = group
    return f"{model}, {adapter}" + (f", {labels} labels" if labels != "–" else "")
