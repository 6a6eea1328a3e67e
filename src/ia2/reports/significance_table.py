"""Table that compares two methods, usually IA2→SFT and SFT: tests over pairs and over sets, at each N."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ia2.analysis.significance import holm
from ia2.analysis.verdicts import LEAST_PAIRS
from ia2.reports.aggregate import Select
from ia2.reports.comparisons import Comparison
from ia2.reports.measures import MEASURES
from ia2.reports.method_names import METHOD_NAMES
from ia2.reports.table import Cell, Column, Number, Table, Value

COMPARISON = (
    *(Column("adapter"), Column("labels"), Column("responses"), Column("N", "d"), Column("pairs", "d")),
    Column("measure"),
)
TESTED: Mapping[str, Column] = {
    "difference": Column("difference", "+.3f"),
    "difference_low": Column("CI low", "+.3f"),
    "difference_high": Column("CI high", "+.3f"),
    "t": Column("t", "+.2f"),
    "p": Column("p", ".2g"),
}
"""Column of each number of a test, by its name in CSV."""
SETS = Column("sets", "d")
BY_SET: Mapping[str, Column] = {
    "difference_by_set": Column("difference by set", "+.3f"),
    "by_set_low": Column("CI low by set", "+.3f"),
    "by_set_high": Column("CI high by set", "+.3f"),
    "p_by_set": Column("p by set", ".2g"),
    "holm_p": Column("Holm's p", ".2g"),
    "sign_flip_p": Column("sign-flip p", ".2g"),
    "detectable": Column("detectable", ".3g"),
}
"""Column of each number of the test over sets, by its name in CSV."""
BETTER = Column("better")
EQUAL: Mapping[str, Column] = {
    "bound": Column("bound", "g"),
    "equal_low": Column("90 % CI low", "+.3f"),
    "equal_high": Column("90 % CI high", "+.3f"),
    "equal_p": Column("TOST p", ".2g"),
}
"""Column of each number of the equivalence test over sets, by its name in CSV."""
EQUAL_VERDICT = Column("equal")
EQUALITY = (
    "The column equal says whether the two are equal within ±bound: this holds if the 90 % CI by set lies entirely "
    "within the bounds, doesn't hold if it lies entirely beyond one of them, and is inconclusive otherwise. TOST p is "
    "the larger p-value of the two one-sided t-tests over sets."
)
UNEVEN = (
    "Some sets have more pairs than others: the difference is the mean over pairs, and that by set, to which its "
    "interval and the verdict belong, the mean over sets, of which each counts once."
)
PAPERS = (Column("paper's t", "+.2f"), Column("paper's p", ".2g"))


def comparison(comparisons: Sequence[Comparison], select: Select) -> list[Table]:
    """Return a table of all comparisons of two methods; empty without comparisons.

    Args:
        comparisons: comparisons of the same two methods.
        select: how the learning rates and β were chosen.
    """
    if not comparisons:
        return []
    names = [METHOD_NAMES.get(method, method) for method in comparisons[0].methods]
    tested = sum(row.p_by_set is not None for row in comparisons)
    sentences = [
        f"Paired t-tests as in the paper's Table 8, with 95 % t-intervals (CI) and two-sided p; t is positive if "
        f"{names[0]} is better.",
        f"Each row pools the pairs of all {_pooled(comparisons)} available at its N as if they were independent. Pairs "
        "of one set on several tasks share an adapter, so p is too low if they are correlated.",
        "The columns by set are from a t-test on the means of sets, which are independent (pairs clustered by set); "
        "the sign-flip p is exact and also over sets. Detectable is the difference that this many sets would detect "
        "with 80 % power.",
        f"The column better says whether {names[0]} is better: this holds if the CI by set lies entirely on its side "
        "of 0, doesn't hold if it lies entirely on the other side, and is inconclusive otherwise.",
        *[EQUALITY] * any(row.equivalence is not None for row in comparisons),
        *[f"Holm's p is p by set, corrected for {tested} tests; the other p-values are not corrected."] * (tested > 1),
        *["Learning rates and β were selected by accuracy on the evaluation rows."] * (select != "dev"),
        *[UNEVEN] * any(row.uneven for row in comparisons),
        "There is no t if there is only one pair, or if all differences are identical.",
        *[f"p needs at least {LEAST_PAIRS} pairs."] * any(row.test.pairs < LEAST_PAIRS for row in comparisons),
        *[f"p by set needs at least {LEAST_PAIRS} sets."]
        * any(row.by_set.pairs < LEAST_PAIRS <= row.test.pairs for row in comparisons),
        *["The paper's t and p are over all of its models and tasks."]
        * any(row.paper.t is not None for row in comparisons),
    ]
    columns = (*COMPARISON, *TESTED.values(), SETS, *BY_SET.values(), BETTER, *EQUAL.values(), EQUAL_VERDICT, *PAPERS)
    corrected = holm([row.p_by_set for row in comparisons]) if len(comparisons) > 1 else [None]
    uneven = any(row.uneven for row in comparisons)
    rows = tuple(_row(row, holm_p, uneven=uneven) for row, holm_p in zip(comparisons, corrected, strict=True))
    table = Table(f"{names[0]} minus {names[1]}", " ".join(sentences), columns, rows)
    optional = (
        *("adapter", "labels", "responses", "difference by set", "p by set", "Holm's p", "detectable"),
        *(column.heading for column in PAPERS),
    )
    asked = () if any(row.equivalence is not None for row in comparisons) else (*EQUAL.values(), EQUAL_VERDICT)
    return [table.without_empty_columns((*optional, *(column.heading for column in asked)))]


def _row(row: Comparison, holm_p: float | None, *, uneven: bool) -> tuple[Cell, ...]:
    """Return a comparison's cells; `uneven` adds the difference over sets, which can differ from that over pairs."""
    named: tuple[Value, ...] = (
        row.adapter,
        row.label_source,
        row.responses,
        row.n,
        row.test.pairs,
        MEASURES[row.measure].heading,
    )
    by_set: tuple[float | None, ...] = (row.by_set.difference if uneven else None,)
    by_set += (*(row.by_set.interval or (None, None)), row.p_by_set, holm_p, row.sign_flip_p, row.detectable)
    equal = row.equivalence
    equality = (None,) * 4 if equal is None else (equal.bound, *(equal.interval or (None, None)), equal.p)
    tested = (row.test.difference, *(row.test.interval or (None, None)), row.t)
    return (
        *(column.cell(value) for column, value in zip(COMPARISON, named, strict=True)),
        *(TESTED[name].cell(value, _number(row, name)) for name, value in zip(TESTED, tested, strict=False)),
        _p_cell(row),
        SETS.cell(row.by_set.pairs),
        *(BY_SET[name].cell(value, _number(row, name)) for name, value in zip(BY_SET, by_set, strict=True)),
        BETTER.cell(row.better),
        *(EQUAL[name].cell(value, _number(row, name)) for name, value in zip(EQUAL, equality, strict=True)),
        EQUAL_VERDICT.cell(row.equal),
        *(column.cell(value) for column, value in zip(PAPERS, row.paper, strict=True)),
    )


def _p_cell(row: Comparison) -> Cell:
    """Return the cell of p: a number, or a note that there are too few pairs."""
    cell = TESTED["p"].cell(row.p, _number(row, "p"))
    if row.test.pairs >= LEAST_PAIRS:
        return cell
    return replace(cell, text=f"n/a ({row.test.pairs} pair{'s' * (row.test.pairs > 1)})")


def _number(row: Comparison, name: str) -> Number:
    """Return the CSV row of one number of a test, with the paper's t and p."""
    models, sources, tasks = ("; ".join(row.pooled(part)) for part in ("model", "source", "eval"))
    return Number(
        # whether source and evaluation task differ varies by pair
        (models, row.adapter, row.label_source, row.n, sources, tasks, ""),
        " minus ".join(row.methods),
        f"{row.measure}_{name}",
        sets=row.by_set.pairs if name in (*BY_SET, *EQUAL) else row.test.pairs,
        records=row.records,
        paper={"t": row.paper.t, "p": row.paper.p}.get(name),
    )


def _pooled(comparisons: Sequence[Comparison]) -> str:
    """Return what the comparisons average over: sets, plus models and tasks if there are several."""
    settings = dict.fromkeys(setting for row in comparisons for setting in row.settings)
    tasks = (
        f"{setting.source} → {setting.eval}" if setting.out_of_distribution else setting.eval for setting in settings
    )
    over = {"models": dict.fromkeys(setting.model for setting in settings), "tasks": dict.fromkeys(tasks)}
    return " and ".join(
        ["sets", *(f"{len(those)} {noun} ({', '.join(those)})" for noun, those in over.items() if len(those) > 1)]
    )
