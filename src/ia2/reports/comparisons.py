"""Compares two methods over pairs and over sets, for each adapter, label source and N."""

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
"""The first method is compared with the second, on the same training set and evaluation task."""
Pair = tuple[Setting, Record, Record]


@dataclass(frozen=True)
class Comparison:
    """The difference between two methods for one adapter, label source and N."""

    methods: tuple[str, str]
    """The two methods; differences are the first minus the second."""
    adapter: str
    label_source: str
    responses: str
    """`single-token` or `multi-token`."""
    n: int
    measure: str
    """Name of the measure in records; accuracies are in percentage points."""
    test: PairedTest
    by_set: PairedTest
    """The same test over set means, as a set's pairs on several tasks and models aren't independent."""
    uneven: bool
    """Whether sets have different numbers of pairs, so that the difference over sets isn't the one over pairs."""
    means: tuple[float, float]
    """Mean of the first and of the second method, where each set counts once."""
    sign_flip_p: float | None
    """p value of the exact sign-flip test over sets."""
    settings: tuple[Setting, ...]
    """Models and tasks of the pairs."""
    records: tuple[Record, ...]
    """The records that were compared: for each pair the first method's, then the second's."""
    paper: PairedTTest
    """The paper's test, if it covers the same settings."""
    equivalence: EquivalenceTest | None = None
    """Equivalence test over sets, if a bound was given."""

    @property
    def t(self) -> float | None:
        """Return t, positive if the first method is better, as in Table 8."""
        return None if self.test.t is None else MEASURES[self.measure].better * self.test.t

    @property
    def advantages(self) -> list[bool]:
        """Return for each pair whether the first method is better."""
        values = [record.metrics.get(self.measure) for record in self.records]
        return [MEASURES[self.measure].better * (a - b) > 0 for a, b in zip(values[::2], values[1::2], strict=True)]

    @property
    def p(self) -> float | None:
        """Return the two-sided p value; None for fewer than `LEAST_PAIRS` pairs."""
        return self.test.p if self.test.pairs >= LEAST_PAIRS else None

    @property
    def p_by_set(self) -> float | None:
        """Return the p value of the t-test over sets; None for fewer than `LEAST_PAIRS` sets."""
        return self.by_set.p if self.by_set.pairs >= LEAST_PAIRS else None

    @property
    def detectable(self) -> float | None:
        """Return the difference detected with 80 % power at this number of sets; None if the variance is unknown."""
        if self.by_set.interval is None:
            return None
        # not from t, which is 0 if the differences cancel out
        (low, high), pairs = self.by_set.interval, self.by_set.pairs
        error = (high - low) / 2 / float(stats.t(pairs - 1).ppf(0.975))
        return detectable_difference(error * math.sqrt(pairs), pairs)

    @property
    def better(self) -> Verdict:
        """Return whether the first method is better, from the confidence interval over sets."""
        return verdict_on_difference(self.by_set, MEASURES[self.measure].better)

    @property
    def equal(self) -> Verdict | None:
        """Return whether the methods are equal within the bound; None if no bound was given."""
        return None if self.equivalence is None else verdict_on_equality(self.equivalence)

    def pooled(self, part: str) -> list[str]:
        """Return the distinct values of a part of the settings."""
        return list(dict.fromkeys(getattr(setting, part) for setting in self.settings))


def compared(
    cells: Iterable[Result],
    paper: Paper | None = None,
    methods: tuple[str, str] = COMPARED,
    *,
    measures: Sequence[str] = ("accuracy", "ece"),
    within: Mapping[str, float] = MappingProxyType({}),
) -> list[Comparison]:
    """Compare two methods, separately by adapter, label source, N and kind of response.

    Methods that don't depend on the adapter, or on the label source, are compared once, whatever adapters and label
    sources the study has. Otherwise Holm's correction would count the same test several times. If either method is
    missing, there are no comparisons.

    Args:
        cells: the study's results, at the best learning rate of each method.
        paper: the paper's tests, shown next to ours for LoRA and ground-truth labels on its models and tasks.
        methods: the two methods; differences are the first minus the second.
        measures: the measures to compare, if both records of a pair have them.
        within: the equivalence bound of each measure that has one.
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
        # the same two records may be listed for several adapters and label sources
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
    """Return the setting without the adapter or label source if neither method depends on it."""
    if all(record.adapter is None or record.method in OF_ANY_ADAPTER for record in pair):
        setting = replace(setting, adapter="–")
    if all(record.options.label_source is None for record in pair):
        setting = replace(setting, label_source="–")
    return setting


def mean_over_sets(values: Sequence[float], sets: Sequence[Hashable]) -> float:
    """Return the mean of the values in which each set counts once, whatever its number of values.

    Args:
        values: one value per pair.
        sets: the set of each pair.
    """
    # for sets of equal size this is exactly the mean over pairs
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
    # a set's rows depend only on its task and seed, not on the model
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
