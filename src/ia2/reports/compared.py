"""Whether IA2→SFT is better than SFT, in a sentence for each N: paired t-tests over sets and tasks (Table 8)."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ia2.analysis.significance import PairedTest, paired_test
from ia2.reports.aggregate import Cell
from ia2.reports.tables import METHOD_NAMES

COMPARED = ("ia2-sft", "sft")
"""Less the second; both must have been trained on the same set and measured on the same task."""


def differences(cells: Sequence[Cell]) -> list[str]:
    """How far the two methods are apart at each N, labels and texts apart; nothing where a study lacks one of them.

    Args:
        cells: what was measured, at the best learning rate of each method.
    """
    values: dict[str, dict[tuple[Any, ...], Any]] = {method: {} for method in COMPARED}
    for cell in cells:
        for record in cell.records if cell.method in COMPARED else ():
            values[cell.method][cell.setting, record["seed"]] = record["metrics"]
    first, second = (values[method] for method in COMPARED)
    groups: dict[tuple[bool, int], list[tuple[Any, Any]]] = defaultdict(list)
    for key in first:
        if key in second:
            pair = first[key], second[key]
            labelled = all(metrics.get("ece") is not None for metrics in pair)
            groups[labelled, key[0].n].append(pair)
    names = " less ".join(METHOD_NAMES[method] for method in COMPARED)
    said = []
    for (labelled, n), pairs in sorted(groups.items(), key=lambda group: (not group[0][0], group[0][1])):
        measures = [_said("accuracy", 100, 1, " points", pairs)]
        if labelled:
            measures.append(_said("ECE", 1, 3, "", pairs))
        several = "1 pair" if len(pairs) == 1 else f"{len(pairs)} pairs"
        said.append(f"{names} at N = {n}, {several} of set and task: {', '.join(measures)}.")
    return said


def _said(name: str, scale: int, digits: int, unit: str, pairs: Sequence[tuple[Any, Any]]) -> str:
    found: PairedTest = paired_test(
        *([float(scale * metrics[name.lower()]) for metrics in side] for side in zip(*pairs, strict=True))
    )
    difference = f"{name} {found.difference:+.{digits}f}{unit}"
    if found.interval is None:
        return f"{difference} (no interval: {'one pair' if found.pairs == 1 else 'all differ alike'})"
    low, high = found.interval
    return f"{difference} (95 % interval {low:+.{digits}f} to {high:+.{digits}f}, p = {found.p:.2g})"
