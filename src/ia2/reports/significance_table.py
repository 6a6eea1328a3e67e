"""Whether one method is better than another, IA2→SFT than SFT above all: tests over pairs, and over sets, at each N."""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ia2.analysis.significance import (
    PairedTest,
    clustered_test,
    detectable_difference,
    holm,
    paired_test,
    sign_flip_p,
)
from ia2.records import Record
from ia2.reports.aggregate import Result, Select, Setting
from ia2.reports.method_names import METHOD_NAMES
from ia2.reports.paper import PairedTTest, Paper
from ia2.reports.table import Cell, Column, Number, Table, Value

COMPARED = ("ia2-sft", "sft")
"""Less the second; both must have been trained on the same set and measured on the same task."""
BETTER = {"accuracy": 1, "ece": -1}
"""Which sign of a difference is the first one's advantage."""
SCALES = {"accuracy": ("accuracy, points", 100), "ece": ("ECE", 1)}
LEAST_PAIRS = 5
"""Pairs from which on there is a p: from fewer, the spread of the differences is little more than a guess."""
Pair = tuple[Setting, Record, Record]
COMPARISON = (
    *(Column("adapter"), Column("labels"), Column("responses"), Column("N", "d"), Column("pairs", "d")),
    Column("measure"),
)
TESTED: Mapping[str, Column] = {
    "difference": Column("difference", "+.3f"),
    "difference_low": Column("95 % from", "+.3f"),
    "difference_high": Column("to", "+.3f"),
    "t": Column("t", "+.2f"),
    "p": Column("p", ".2g"),
}
"""The column of each number of a test, by its name in CSV."""
SETS = Column("sets", "d")
BY_SET: Mapping[str, Column] = {
    "p_by_set": Column("p by set", ".2g"),
    "holm_p": Column("Holm's p", ".2g"),
    "sign_flip_p": Column("sign-flip p", ".2g"),
    "detectable": Column("detectable", ".3g"),
}
"""The column of each number of the test over sets, by its name in CSV."""
PAPERS = (Column("paper's t", "+.2f"), Column("paper's p", ".2g"))


@dataclass(frozen=True)
class Comparison:
    """How far two methods are apart with an adapter and a label source at one N."""

    methods: tuple[str, str]
    """The first's values less the second's."""
    adapter: str
    label_source: str
    responses: str
    """`single-token` or `multi-token`."""
    n: int
    measure: str
    """`accuracy`, in points, or `ece`."""
    test: PairedTest
    by_set: PairedTest
    """The same over means of sets, whose pairs on several tasks and models aren't independent."""
    sign_flip_p: float | None
    """Of the exact test over sets."""
    settings: tuple[Setting, ...]
    """Which models and tasks its pairs are of."""
    records: tuple[Record, ...]
    """What it was computed from: of each pair the first method's, then the second's."""
    paper: PairedTTest
    """The paper's own, where it's of the same kind."""

    @property
    def t(self) -> float | None:
        """Positive where the first one is better, as in Table 8."""
        return None if self.test.t is None else BETTER[self.measure] * self.test.t

    @property
    def advantages(self) -> list[bool]:
        """Whether the first method is better, of each pair."""
        values = [record.metrics.get(self.measure) for record in self.records]
        return [BETTER[self.measure] * (a - b) > 0 for a, b in zip(values[::2], values[1::2], strict=True)]

    @property
    def p(self) -> float | None:
        """Two-sided; None of fewer than `LEAST_PAIRS` pairs too."""
        return self.test.p if self.test.pairs >= LEAST_PAIRS else None

    @property
    def p_by_set(self) -> float | None:
        """Of the t-test over sets; None of fewer than `LEAST_PAIRS` of them."""
        return self.by_set.p if self.by_set.pairs >= LEAST_PAIRS else None

    @property
    def detectable(self) -> float | None:
        """The difference that so many sets find four times in five; None where nothing says how they vary."""
        if self.by_set.t is None:
            return None
        pairs = self.by_set.pairs
        spread = abs(self.by_set.difference / self.by_set.t) * math.sqrt(pairs) if self.by_set.t else None
        return detectable_difference(spread, pairs) if spread else None

    @property
    def p_cell(self) -> Cell:
        """How p stands in a table: a number, or how many pairs are too few for it."""
        cell = TESTED["p"].cell(self.p, _number(self, "p"))
        if self.test.pairs >= LEAST_PAIRS:
            return cell
        return replace(cell, text=f"n/a ({self.test.pairs} pair{'s' * (self.test.pairs > 1)})")

    def pooled(self, part: str) -> list[str]:
        """What it is over: the different values of a part of its settings."""
        return list(dict.fromkeys(getattr(setting, part) for setting in self.settings))


def compared(
    cells: Iterable[Result], paper: Paper | None = None, methods: tuple[str, str] = COMPARED
) -> list[Comparison]:
    """How far the two methods are apart, adapters, label sources, N, labels and texts apart; none where one is lacking.

    Args:
        cells: what was measured, at the best learning rate of each method.
        paper: the paper's tests, to stand beside ours of LoRA and ground truth on its models and tasks.
        methods: the two, whose differences are the first's values less the second's.
    """
    records_of: dict[str, dict[tuple[Setting, Any], Record]] = {method: {} for method in methods}
    for cell in cells:
        for record in cell.records if cell.method in methods else ():
            records_of[cell.method][cell.setting, record.seed] = record
    first, second = (records_of[method] for method in methods)
    groups: dict[tuple[str, str, str, int, str], list[Pair]] = defaultdict(list)
    for setting, seed in sorted(first.keys() & second.keys()):
        pair = first[setting, seed], second[setting, seed]
        labelled = all(record.metrics.get("ece") is not None for record in pair)
        kind = "single-token" if labelled else "multi-token"
        for measure in ("accuracy", "ece") if labelled else ("accuracy",):
            groups[setting.adapter, setting.label_source, kind, setting.n, measure].append((setting, *pair))
    rows = [_compared(methods, *group, pairs, paper) for group, pairs in groups.items()]
    return sorted(rows, key=lambda row: (row.adapter, row.label_source, row.responses[0] == "m", row.n, row.measure))


def _compared(
    methods: tuple[str, str],
    adapter: str,
    labels: str,
    responses: str,
    n: int,
    measure: str,
    pairs: Sequence[Pair],
    paper: Paper | None,
) -> Comparison:
    ours, others = ([SCALES[measure][1] * pair[side].metrics.get(measure) for _, *pair in pairs] for side in (0, 1))
    settings = tuple(dict.fromkeys(setting for setting, _, _ in pairs))
    # the rows of a set are drawn from its task and seed alone, whichever model learns them
    sets = [(setting.source, record.seed) for setting, record, _ in pairs]
    alike = methods == COMPARED and paper is not None and all(map(paper.tests_of, settings))
    theirs = paper.test(responses, n, measure) if paper is not None and alike else PairedTTest(None, None)
    records = tuple(record for _, *pair in pairs for record in pair)
    return Comparison(
        methods,
        adapter,
        labels,
        responses,
        n,
        measure,
        paired_test(ours, others),
        clustered_test(ours, others, sets),
        sign_flip_p(ours, others, sets),
        settings,
        records,
        theirs,
    )


def comparison(comparisons: Sequence[Comparison], select: Select) -> list[Table]:
    """A table of all comparisons of two methods; none where there are none.

    Args:
        comparisons: the comparisons, all of the same methods.
        select: how the learning rates and β were chosen.
    """
    if not comparisons:
        return []
    names = [METHOD_NAMES.get(method, method) for method in comparisons[0].methods]
    sentences = [
        f"Paired t-tests as in the paper's Table 8: t is positive where {names[0]} is better, p two-sided, the "
        "interval Student's.",
        f"A row's pairs are of all {_pooled(comparisons)} that there are at its N, taken as independent: those of one "
        "set on several tasks share an adapter, so that p is too low where they go together.",
        "p by set is of a t-test over the means of sets, which are independent; the sign-flip p, over sets as well, is "
        "exact. Detectable is the difference that so many sets would find four times in five.",
        *[f"Holm's p is p by set, corrected for there being {len(comparisons)} tests; the others aren't corrected."]
        * (len(comparisons) > 1),
        *["Learning rates and β were picked by accuracy on the same rows."] * (select != "dev"),
        "Without a t there was one pair, or all differ alike.",
        *[f"p takes at least {LEAST_PAIRS} pairs."] * any(row.test.pairs < LEAST_PAIRS for row in comparisons),
        *[f"p by set takes at least {LEAST_PAIRS} sets."]
        * any(row.by_set.pairs < LEAST_PAIRS <= row.test.pairs for row in comparisons),
        *["The paper's t and p span all of its models and tasks."]
        * any(row.paper.t is not None for row in comparisons),
    ]
    columns = (*COMPARISON, *TESTED.values(), SETS, *BY_SET.values(), *PAPERS)
    corrected = holm([row.p_by_set for row in comparisons]) if len(comparisons) > 1 else [None]
    rows = tuple(map(_row, comparisons, corrected))
    table = Table(f"{names[0]} less {names[1]}", " ".join(sentences), columns, rows)
    optional = ("adapter", "labels", "responses", "p by set", "Holm's p", "detectable", "paper's t", "paper's p")
    return [table.without_empty_columns(optional)]


def _row(row: Comparison, holm_p: float | None) -> tuple[Cell, ...]:
    named: tuple[Value, ...] = (
        row.adapter,
        row.label_source,
        row.responses,
        row.n,
        row.test.pairs,
        SCALES[row.measure][0],
    )
    by_set = (row.p_by_set, holm_p, row.sign_flip_p, row.detectable)
    tested = (row.test.difference, *(row.test.interval or (None, None)), row.t)
    return (
        *(column.cell(value) for column, value in zip(COMPARISON, named, strict=True)),
        *(TESTED[name].cell(value, _number(row, name)) for name, value in zip(TESTED, tested, strict=False)),
        row.p_cell,
        SETS.cell(row.by_set.pairs),
        *(BY_SET[name].cell(value, _number(row, name)) for name, value in zip(BY_SET, by_set, strict=True)),
        *(column.cell(value) for column, value in zip(PAPERS, row.paper, strict=True)),
    )


def _number(row: Comparison, name: str) -> Number:
    """The line in CSV of one number of a test, with the paper's own t and p."""
    models, sources, tasks = ("; ".join(row.pooled(part)) for part in ("model", "source", "eval"))
    return Number(
        # whether the tasks differ is of each pair, not of all
        (models, row.adapter, row.label_source, row.n, sources, tasks, ""),
        " less ".join(row.methods),
        f"{row.measure}_{name}",
        sets=row.by_set.pairs if name in BY_SET else row.test.pairs,
        records=row.records,
        paper={"t": row.paper.t, "p": row.paper.p}.get(name),
    )


def _pooled(comparisons: Sequence[Comparison]) -> str:
    """Over what comparisons are: sets, and models and tasks where there are several."""
    settings = dict.fromkeys(setting for row in comparisons for setting in row.settings)
    tasks = (
        f"{setting.source} → {setting.eval}" if setting.out_of_distribution else setting.eval for setting in settings
    )
    over = {"models": dict.fromkeys(setting.model for setting in settings), "tasks": dict.fromkeys(tasks)}
    return " and ".join(
        ["sets", *(f"{len(those)} {noun} ({', '.join(those)})" for noun, those in over.items() if len(those) > 1)]
    )
