"""How far two methods are apart over pairs of the same set, and over sets, for each adapter, label source and N."""

import math
import statistics
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from scipy import stats

from ia2.analysis.equivalence import EquivalenceTest, equivalence_test
from ia2.analysis.significance import (
    PairedTest,
    are_uneven,
    cluster_means,
    clustered_test,
    detectable_difference,
    paired_test,
    sign_flip_p,
)
from ia2.analysis.verdicts import LEAST_PAIRS, Verdict, verdict_on_difference, verdict_on_equality
from ia2.records import Record
from ia2.reports.aggregate import Result, Setting
from ia2.reports.measures import MEASURES
from ia2.reports.method_names import OF_ANY_ADAPTER
from ia2.reports.paper import PairedTTest, Paper

COMPARED = ("ia2-sft", "sft")
"""Less the second; both must have been trained on the same set and measured on the same task."""
Pair = tuple[Setting, Record, Record]


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
    """Its name in records; accuracies are in points."""
    test: PairedTest
    by_set: PairedTest
    """The same over means of sets, whose pairs on several tasks and models aren't independent."""
    uneven: bool
    """Whether some sets have more pairs than others, so that the difference over sets isn't that over pairs."""
    means: tuple[float, float]
    """Of the first method and of the second, each set counted once as in the difference over sets."""
    sign_flip_p: float | None
    """Of the exact test over sets."""
    settings: tuple[Setting, ...]
    """Which models and tasks its pairs are of."""
    records: tuple[Record, ...]
    """What it was computed from: of each pair the first method's, then the second's."""
    paper: PairedTTest
    """The paper's own, where it's of the same kind."""
    equivalence: EquivalenceTest | None = None
    """Over sets, where a bound was stated."""

    @property
    def t(self) -> float | None:
        """Positive where the first one is better, as in Table 8."""
        return None if self.test.t is None else MEASURES[self.measure].better * self.test.t

    @property
    def advantages(self) -> list[bool]:
        """Whether the first method is better, of each pair."""
        values = [record.metrics.get(self.measure) for record in self.records]
        return [MEASURES[self.measure].better * (a - b) > 0 for a, b in zip(values[::2], values[1::2], strict=True)]

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
        if self.by_set.interval is None:
            return None
        # not of t, which is 0 where the differences cancel out
        (low, high), pairs = self.by_set.interval, self.by_set.pairs
        error = (high - low) / 2 / float(stats.t(pairs - 1).ppf(0.975))
        return detectable_difference(error * math.sqrt(pairs), pairs)

    @property
    def better(self) -> Verdict:
        """Whether the first method is better, by the interval over sets."""
        return verdict_on_difference(self.by_set, MEASURES[self.measure].better)

    @property
    def equal(self) -> Verdict | None:
        """Whether the two are equal within the bound; None where none was stated."""
        return None if self.equivalence is None else verdict_on_equality(self.equivalence)

    def pooled(self, part: str) -> list[str]:
        """What it is over: the different values of a part of its settings."""
        return list(dict.fromkeys(getattr(setting, part) for setting in self.settings))


def compared(
    cells: Iterable[Result],
    paper: Paper | None = None,
    methods: tuple[str, str] = COMPARED,
    *,
    measures: Sequence[str] = ("accuracy", "ece"),
    within: Mapping[str, float] = MappingProxyType({}),
) -> list[Comparison]:
    """How far the two methods are apart, adapters, label sources, N, labels and texts apart; none where one is lacking.

    Two methods that no adapter changes, or no label source, are compared once, whatever adapters and label sources a
    study has: else Holm's correction would count the same test several times.

    Args:
        cells: what was measured, at the best learning rate of each method.
        paper: the paper's tests, to stand beside ours of LoRA and ground truth on its models and tasks.
        methods: the two, whose differences are the first's values less the second's.
        measures: what they are compared in, where both records of a pair have it.
        within: how far apart they may be in a measure and count as equal, where that is asked.
    """
    records_of: dict[str, dict[tuple[Setting, Any], Record]] = {method: {} for method in methods}
    for cell in cells:
        for record in cell.records if cell.method in methods else ():
            records_of[cell.method][cell.setting, record.seeds] = record
    first, second = (records_of[method] for method in methods)
    groups: dict[tuple[str, str, str, int, str], list[Pair]] = defaultdict(list)
    counted: set[tuple[Setting, Any]] = set()
    for beside, seeds in sorted(first.keys() & second.keys()):
        pair = first[beside, seeds], second[beside, seeds]
        # the same two records may stand beside several adapters and label sources
        setting = _told_apart_by(beside, pair)
        if (setting, seeds) in counted:
            continue
        counted.add((setting, seeds))
        labelled = all(record.metrics.get("ece") is not None for record in pair)
        kind = "single-token" if labelled else "multi-token"
        for measure in measures:
            if all(record.metrics.get(measure) is not None for record in pair):
                groups[setting.adapter, setting.label_source, kind, setting.n, measure].append((setting, *pair))
    rows = [_compared(methods, *group, pairs, paper, within) for group, pairs in groups.items()]
    return sorted(
        rows,
        key=lambda row: (*(row.adapter, row.label_source, row.responses[0] == "m", row.n), measures.index(row.measure)),
    )


def _told_apart_by(setting: Setting, pair: tuple[Record, Record]) -> Setting:
    """A setting without what makes no difference to either of two methods: the adapter, or the label source."""
    if all(record.adapter is None or record.method in OF_ANY_ADAPTER for record in pair):
        setting = replace(setting, adapter="–")
    if all(record.options.label_source is None for record in pair):
        setting = replace(setting, label_source="–")
    return setting


def mean_over_sets(values: Sequence[float], sets: Sequence[Hashable]) -> float:
    """The mean of values in which each set counts once, however many it has.

    Args:
        values: one for each pair.
        sets: the set of each pair.
    """
    # where sets have equally many, this is the mean over pairs, to the last digit
    return statistics.fmean(cluster_means(values, sets) if are_uneven(sets) else values)


def _compared(
    methods: tuple[str, str],
    adapter: str,
    labels: str,
    responses: str,
    n: int,
    measure: str,
    pairs: Sequence[Pair],
    paper: Paper | None,
    within: Mapping[str, float],
) -> Comparison:
    scale = MEASURES[measure].scale
    ours, others = ([scale * pair[side].metrics.get(measure) for _, *pair in pairs] for side in (0, 1))
    settings = tuple(dict.fromkeys(setting for setting, _, _ in pairs))
    # the rows of a set are drawn from its task and seed alone, whichever model learns them
    sets = [(setting.source, record.seed) for setting, record, _ in pairs]
    alike = methods == COMPARED and paper is not None and all(map(paper.tests_of, settings))
    theirs = paper.test(responses, n, measure) if paper is not None and alike else PairedTTest(None, None)
    return Comparison(
        methods,
        adapter,
        labels,
        responses,
        n,
        measure,
        paired_test(ours, others),
        clustered_test(ours, others, sets),
        are_uneven(sets),
        (mean_over_sets(ours, sets), mean_over_sets(others, sets)),
        sign_flip_p(ours, others, sets),
        settings,
        tuple(record for _, *pair in pairs for record in pair),
        theirs,
        equivalence_test(ours, others, sets, within[measure]) if measure in within else None,
    )
