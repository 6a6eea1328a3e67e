"""A study's findings on each claim: its comparisons, each with an estimate, its uncertainty, and a verdict."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ia2.analysis.equivalence import EquivalenceTest, equivalence_test
from ia2.analysis.significance import holm
from ia2.analysis.verdicts import LEAST_PAIRS, Verdict, verdict_on_difference, verdict_on_equality
from ia2.experiments.questions import Claim, Pair
from ia2.records import Record
from ia2.reports.aggregate import Result, Select
from ia2.reports.comparisons import Comparison, compared, mean_over_sets
from ia2.reports.measures import MEASURES
from ia2.reports.method_names import METHOD_NAMES
from ia2.reports.overlaps import SetOverlap, paths_of
from ia2.reports.table import Cell, Column, Number, Table, Value

VERDICTS: Mapping[Verdict, float] = {"holds": 1.0, "inconclusive": 0.0, "doesn't hold": -1.0}
"""Number of each verdict in CSV, which only has numbers."""
OVERLAP = "overlap"
NAMED = (
    *(Column("adapter"), Column("labels"), Column("responses"), Column("N", "d")),
    *(Column("compared"), Column("measure"), Column("claimed")),
)
LISTED = ("difference", "difference_low", "difference_high", "p", "holm_p")
"""Suffixes of the measures that CSV lists for each comparison, besides the verdict."""
VERDICT = Column("verdict")
COUNTED = (Column("first", ".3f"), Column("second", ".3f"), Column("sets", "d"), Column("pairs", "d"))
OVERVIEW = (Column("claim"), *(Column(verdict, "d") for verdict in VERDICTS))
ON_DIFFERENCES = (
    "The claim holds if the 95 % CI (a t-interval over the means of sets) lies entirely on the claimed side of 0, "
    "doesn't hold if it lies entirely on the other side, and is inconclusive otherwise. p is from an exact two-sided "
    "sign-flip test over sets."
)
ON_EQUALITY = (
    "The claim holds if the 90 % CI (a t-interval over the means of sets) lies entirely within the bounds, doesn't "
    "hold if it lies entirely beyond one of them, and is inconclusive otherwise. p is the larger p-value of the two "
    "one-sided t-tests (TOST)."
)


@dataclass(frozen=True)
class Finding:
    """The finding on one comparison of a claim."""

    setting: tuple[str, str, str, int]
    """Adapter, label source, kind of response and N."""
    pooled: tuple[str, str, str]
    """Models, sources and evaluation tasks, joined by semicolons."""
    methods: Pair
    measure: str
    means: tuple[float, float]
    """Mean of the first and of the second method, over set means."""
    difference: float
    """Mean difference over set means; the next three fields are over set means too."""
    interval: tuple[float, float] | None
    p: float | None
    sets: int
    pairs: int
    claimed: str
    verdict: Verdict
    records: tuple[Record, ...]

    @property
    def compared(self) -> str:
        """Return the two methods in words."""
        first, second = (METHOD_NAMES.get(method, method) for method in self.methods)
        return f"{first} and {second} minus chance" if self.measure == OVERLAP else f"{first} minus {second}"


def findings_tables(
    claims: Sequence[Claim], cells: Sequence[Result], overlaps: Sequence[SetOverlap], select: Select
) -> list[Table]:
    """Return a summary table of all claims, then a table for each claim that has measurements.

    Args:
        claims: the study's claims.
        cells: the study's results, at the best learning rate of each method.
        overlaps: the subspace overlaps of adapters.
        select: how the learning rates and β were chosen.
    """
    found_of = [(claim, list(_findings(claim, cells, overlaps))) for claim in claims]
    if not any(findings for _, findings in found_of):
        return []
    rows: list[tuple[Value, ...]] = []
    for claim, findings in found_of:
        verdicts = [finding.verdict for finding in findings]
        rows.append((claim.claim, *map(verdicts.count, VERDICTS)))
    sentences = [
        "Number of comparisons with each verdict; each claim has its own table below.",
        *["A claim without comparisons has not been measured."] * (not all(findings for _, findings in found_of)),
    ]
    return [
        Table.of("Claims", " ".join(sentences), OVERVIEW, rows),
        *(_claim_table(claim, findings, select) for claim, findings in found_of if findings),
    ]


def _findings(claim: Claim, cells: Sequence[Result], overlaps: Sequence[SetOverlap]) -> Iterator[Finding]:
    bounds: dict[str, float] = {str(measure): bound for measure, bound in claim.within.items()}
    measures = [name for name in (*claim.higher, *claim.lower, *bounds) if name != OVERLAP]
    for pair in claim.methods:
        for row in compared(cells, methods=pair, measures=measures, within=bounds):
            yield _of_comparison(row, claim)
        if OVERLAP in bounds:
            yield from _of_overlaps(pair, overlaps, bounds[OVERLAP])


def _of_comparison(row: Comparison, claim: Claim) -> Finding:
    tested: EquivalenceTest | None = row.equivalence
    direction = 1 if row.measure in claim.higher else -1
    return Finding(
        (row.adapter, row.label_source, row.responses, row.n),
        ("; ".join(row.pooled("model")), "; ".join(row.pooled("source")), "; ".join(row.pooled("eval"))),
        row.methods,
        row.measure,
        row.means,
        row.by_set.difference,
        row.by_set.interval if tested is None else tested.interval,
        row.sign_flip_p if tested is None else tested.p,
        row.by_set.pairs,
        row.test.pairs,
        _claimed(direction) if tested is None else f"within ±{tested.bound:g}",
        verdict_on_difference(row.by_set, direction) if tested is None else verdict_on_equality(tested),
        row.records,
    )


def _of_overlaps(pair: Pair, overlaps: Sequence[SetOverlap], bound: float) -> Iterator[Finding]:
    """Yield how far two methods' overlap is above that of random subspaces, by adapter, label source and N."""
    groups: dict[tuple[str, str, int], list[SetOverlap]] = defaultdict(list)
    counted = set()
    for overlap in overlaps:
        # adapters trained without labels are listed for every label source
        if set(overlap.methods) == set(pair) and paths_of(overlap.records) not in counted:
            counted.add(paths_of(overlap.records))
            groups[overlap.adapter, overlap.label_source, overlap.n].append(overlap)
    for (adapter, labels, n), alike in sorted(groups.items()):
        shared = [overlap.shared.mean for overlap in alike]
        by_chance = [overlap.shared.of_random for overlap in alike]
        sets = [(overlap.source, overlap.records[0].seed) for overlap in alike]
        test = equivalence_test(shared, by_chance, sets, bound)
        models = "; ".join(dict.fromkeys(overlap.model for overlap in alike))
        sources = "; ".join(dict.fromkeys(overlap.source for overlap in alike))
        yield Finding(
            (adapter, labels, "", n),
            (models, sources, ""),
            pair,
            OVERLAP,
            (mean_over_sets(shared, sets), mean_over_sets(by_chance, sets)),
            test.difference,
            test.interval,
            test.p,
            test.pairs,
            len(alike),
            f"within ±{bound:g}",
            verdict_on_equality(test),
            tuple(record for overlap in alike for record in overlap.records),
        )


def _claimed(direction: int) -> str:
    return "above 0" if direction > 0 else "below 0"


def _claim_table(claim: Claim, findings: Sequence[Finding], select: Select) -> Table:
    several, tested_count = len(findings) > 1, sum(finding.p is not None for finding in findings)
    corrected = holm([finding.p for finding in findings]) if several else [None]
    confidence = 90 if claim.within else 95
    tested = (
        *(Column("difference", "+.3f"), Column(f"{confidence} % CI low", "+.3f"), Column("CI high", "+.3f")),
        *(Column("p", ".2g"), Column("Holm's p", ".2g")),
    )
    sentences = [
        *[claim.question] * bool(claim.question),
        ON_EQUALITY if claim.within else ON_DIFFERENCES,
        *[f"Holm's p is corrected for {tested_count} comparisons."] * (tested_count > 1),
        "first, second: the two methods' means"
        + ("; for overlaps, the mean overlap and that of random subspaces." if OVERLAP in claim.within else "."),
        *[f"Fewer than {LEAST_PAIRS} sets are always inconclusive."]
        * any(finding.sets < LEAST_PAIRS for finding in findings),
        *["Learning rates and β were selected by accuracy on the evaluation rows."] * (select != "dev"),
    ]
    rows = tuple(_row(claim, finding, holm_p, tested) for finding, holm_p in zip(findings, corrected, strict=True))
    table = Table(f"Claim: {claim.claim}", " ".join(sentences), (*NAMED, VERDICT, *tested, *COUNTED), rows)
    return table.without_empty_columns(("adapter", "labels", "responses", *["Holm's p"] * (not several)))


def _row(claim: Claim, finding: Finding, holm_p: float | None, tested: Sequence[Column]) -> tuple[Cell, ...]:
    heading = MEASURES[finding.measure].heading if finding.measure != OVERLAP else OVERLAP
    named: tuple[Value, ...] = (*finding.setting, finding.compared, heading, finding.claimed)
    numbers = (finding.difference, *(finding.interval or (None, None)), finding.p, holm_p)
    counted: tuple[Value, ...] = (*finding.means, finding.sets, finding.pairs)
    return (
        *(column.cell(value) for column, value in zip(NAMED, named, strict=True)),
        Cell(finding.verdict, VERDICTS[finding.verdict], number=_number(claim, finding, "verdict")),
        *(
            column.cell(value, _number(claim, finding, name))
            for column, name, value in zip(tested, LISTED, numbers, strict=True)
        ),
        *(column.cell(value) for column, value in zip(COUNTED, counted, strict=True)),
    )


def _number(claim: Claim, finding: Finding, name: str) -> Number:
    """Return the CSV row of one number of a comparison."""
    models, sources, tasks = finding.pooled
    adapter, labels, _, n = finding.setting
    between = " and " if finding.measure == OVERLAP else " minus "
    return Number(
        (models, adapter, labels, n, sources, tasks, ""),
        f"{claim.claim}: {between.join(finding.methods)}",
        f"{finding.measure}_{name}",
        sets=finding.sets,
        records=finding.records,
    )
