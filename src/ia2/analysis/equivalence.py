"""Equivalence of two methods within a bound: two one-sided tests (TOST) over clusters (Schuirmann 1987)."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from scipy import stats

from ia2.analysis.significance import clustered_test


@dataclass(frozen=True)
class EquivalenceTest:
    """Result of an equivalence test, in the unit of the compared values."""

    pairs: int
    """Number of clusters; each counts once."""
    difference: float
    """Mean of the first method's values minus the second's."""
    bound: float
    """Equivalence margin: the largest difference, in either direction, that counts as equal."""
    interval: tuple[float, float] | None
    """Confidence interval of the mean difference at level 1 - 2 x level; None if its variance is unknown."""
    p: float | None
    """p value of the null hypothesis that the true difference is at least the bound: the larger of the two tests'."""


def equivalence_test(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable],
    bound: float,
    *,
    level: float = 0.05,
) -> EquivalenceTest:
    """Test whether two methods differ by less than a bound, over clusters of dependent pairs.

    The methods are equivalent at this level if and only if the interval lies within the bounds.

    Args:
        first: the first method's value for each pair.
        second: the second method's values for the same pairs, in the same order.
        clusters: the cluster of each pair, such as the set that its adapters were trained on.
        bound: the equivalence margin, more than 0.
        level: significance level of each of the two tests.

    Raises:
        ValueError: as for `paired_test`, or the bound isn't more than 0.

    Example:
        >>> test = equivalence_test([0.7, 0.8, 0.9], [0.71, 0.8, 0.89], ["a", "b", "c"], bound=0.05)
        >>> [round(end, 3) for end in test.interval], test.p < 0.05
        ([-0.017, 0.017], True)
    """
    if not bound > 0:
        raise ValueError(f"a bound of {bound}: nothing differs by less than that")
    test = clustered_test(first, second, clusters, confidence=1 - 2 * level)
    if test.interval is None:
        return EquivalenceTest(test.pairs, test.difference, bound, None, None)
    t_distribution = stats.t(test.pairs - 1)
    standard_error = (test.interval[1] - test.difference) / float(t_distribution.ppf(1 - level))
    lower_t, upper_t = (test.difference + bound) / standard_error, (test.difference - bound) / standard_error
    p = max(float(t_distribution.sf(lower_t)), float(t_distribution.cdf(upper_t)))
    return EquivalenceTest(test.pairs, test.difference, bound, test.interval, p)
