"""How much of two methods' weight updates lies in the same directions, as curves over layers and as numbers."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from ia2.adapters.adapter import Adapter
from ia2.analysis.subspace import subspace_overlap
from ia2.reports.aggregate import Result, deviation
from ia2.reports.method_names import METHOD_NAMES, method_order
from ia2.reports.table import Column, Number, Table, Value

Group = tuple[str, str, str]
"""A model, an adapter with its sizes, and a label source."""
Pair = tuple[str, str]
Curve = Mapping[int, float]
"""The overlap at each layer."""
COLUMNS = (
    *(Column("model"), Column("adapter"), Column("labels"), Column("first"), Column("second"), Column("pairs", "d")),
    *(Column("overlap", ".3f"), Column("standard deviation", ".3f")),
)


def overlaps_of(cells: Iterable[Result], folder: Path) -> dict[Group, dict[Pair, list[Curve]]]:
    """A curve for each set and pair of methods that were trained on it."""
    overlaps: dict[Group, dict[Pair, list[Curve]]] = defaultdict(lambda: defaultdict(list))
    for (*group, _n, _source, _seed), paths in adapters_of(cells).items():
        model, adapter, labels = group
        saved = {method: Adapter.load(folder / path) for method, path in paths.items() if (folder / path).is_dir()}
        for first, second in combinations(sorted(saved, key=method_order), 2):
            curve = subspace_overlap(saved[first], saved[second]).by_layer
            overlaps[model, adapter, labels][first, second].append(curve)
    return {group: dict(curves) for group, curves in overlaps.items()}


def adapters_of(cells: Iterable[Result]) -> dict[tuple[Any, ...], dict[str, str]]:
    """Where each method's adapter of a set lies; one that is measured on several tasks is one adapter."""
    paths: dict[tuple[Any, ...], dict[str, str]] = defaultdict(dict)
    for cell in cells:
        for record in cell.records:
            adapter = record.adapter
            # one without a path was never saved
            if adapter and adapter.kind == "lora" and not adapter.get("dora") and adapter.path:
                setting = cell.setting
                key = (setting.model, setting.adapter, setting.label_source, setting.n, setting.source, record.seed)
                paths[key][cell.method] = adapter.path
    return paths


def overlap_table(overlaps: Mapping[Group, Mapping[Pair, Sequence[Curve]]]) -> list[Table]:
    """A table with the mean overlap of each two methods (Figure 4 as numbers); none where there are no overlaps."""
    rows = []
    for (model, adapter, labels), curves_of in overlaps.items():
        for pair, curves in curves_of.items():
            means = [statistics.fmean(curve.values()) for curve in curves]
            average, spread = statistics.fmean(means), deviation(means) if len(means) > 1 else None
            number = Number(
                (model, adapter, labels, "", "", "", ""),
                " and ".join(pair),
                "overlap",
                sets=len(means),
                spread=spread,
            )
            names = (METHOD_NAMES.get(method, method) for method in pair)
            named: tuple[Value, ...] = (model, adapter, labels, *names, len(means))
            cells = [column.cell(value) for column, value in zip(COLUMNS, named, strict=False)]
            rows.append((*cells, COLUMNS[-2].cell(average, number), COLUMNS[-1].cell(spread)))
    if not rows:
        return []
    caption = (
        "How much of two methods' weight updates lies in the same directions, in [0, 1]: the mean over modules and "
        "layers of adapters trained on the same set, over sets, N and tasks; 0 is orthogonal."
    )
    table = Table("Subspace overlap", caption, COLUMNS, tuple(rows))
    return [table.without_empty_columns(("model", "adapter", "labels"))]


def group_name(group: Group) -> str:
    """What is compared, in words."""
    model, adapter, labels = group
    return f"{model}, {adapter}" + (f", {labels} labels" if labels != "–" else "")
