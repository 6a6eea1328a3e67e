"""Whether IA2→SFT is better than SFT: paired t-tests over sets and tasks at each N, as in the paper's Table 8."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from ia2.analysis.significance import paired_test
from ia2.reports.aggregate import Cell
from ia2.reports.listing import Column, Listing, Value, without_empty_columns
from ia2.reports.paper import Paper
from ia2.reports.tables import METHOD_NAMES

COMPARED = ("ia2-sft", "sft")
"""Less the second; both must have been trained on the same set and measured on the same task."""
BETTER = {"accuracy": 1, "ece": -1}
"""Which sign of a difference is the first one's advantage."""
SCALES = {"accuracy": ("accuracy, points", 100), "ece": ("ECE", 1)}
COLUMNS = (
    *(Column("responses"), Column("N", "d"), Column("pairs", "d"), Column("measure"), Column("difference", "+.3f")),
    *(Column("95 % from", "+.3f"), Column("to", "+.3f"), Column("t", "+.2f"), Column("p", ".2g")),
    *(Column("paper's t", "+.2f"), Column("paper's p", ".2g")),
)


def comparison(cells: Sequence[Cell], paper: Paper | None = None) -> list[Listing]:
    """A listing of how far the two methods are apart at each N, labels and texts apart; none where one is lacking.

    Args:
        cells: what was measured, at the best learning rate of each method.
        paper: the paper's tests, to stand beside ours.
    """
    values: dict[str, dict[tuple[Any, ...], Any]] = {method: {} for method in COMPARED}
    for cell in cells:
        for record in cell.records if cell.method in COMPARED else ():
            values[cell.method][cell.setting, record["seed"]] = record["metrics"]
    first, second = (values[method] for method in COMPARED)
    groups: dict[tuple[str, int, str], list[tuple[float, float]]] = defaultdict(list)
    for key in first.keys() & second.keys():
        pair = first[key], second[key]
        labelled = all(metrics.get("ece") is not None for metrics in pair)
        for measure in ("accuracy", "ece") if labelled else ("accuracy",):
            one, other = (float(metrics[measure]) for metrics in pair)
            groups["single-token" if labelled else "multi-token", key[0].n, measure].append((one, other))
    rows = []
    for responses, n, measure in sorted(groups, key=lambda group: (group[0] == "multi-token", group[1:])):
        pairs = groups[responses, n, measure]
        name, scale = SCALES[measure]
        found = paired_test(*([scale * value for value in side] for side in zip(*sorted(pairs), strict=True)))
        low, high = found.interval or (None, None)
        t = None if found.t is None else BETTER[measure] * found.t
        theirs: tuple[Value, Value] = paper.test(responses, n, measure) if paper is not None else (None, None)
        rows.append((responses, n, found.pairs, name, found.difference, low, high, t, found.p, *theirs))
    if not rows:
        return []
    names = [METHOD_NAMES[method] for method in COMPARED]
    return [
        without_empty_columns(
            Listing(
                f"{names[0]} less {names[1]}",
                "Paired t-tests over sets and evaluation tasks, as in the paper's Table 8: t is positive where "
                f"{names[0]} is better, p two-sided, the interval Student's. Pairs of one set on several tasks share "
                "an adapter, so that p is too low where they go together. Without a t there was one pair, or all "
                "differ alike.",
                COLUMNS,
                tuple(rows),
            ),
            ("responses", "paper's t", "paper's p"),
        )
    ]
