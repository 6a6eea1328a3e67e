"""Whether two methods come to the same: two one-sided tests over clusters (Schuirmann 1987), within stated bounds."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from scipy import stats

from ia2.analysis.significance import clustered_test


@dataclass(frozen=True)
class EquivalenceTest:
    """How far two methods are apart, and whether that is less than a bound, in the unit of what was compared."""

    pairs: int
    """Clusters, each of which counts once."""
    difference: float
    """The mean of the first method's values less the second's."""
    bound: float
    """How far apart two methods may be that count as equal, in either direction."""
    interval: tuple[float, float] | None
    """Of the mean difference, at 1 - 2 x level; None where nothing says how much differences vary."""
    p: float | None
    """How often a true difference of the bound or more would seem at least as small, the larger of the two tests'."""


def equivalence_test(
    first: Sequence[float],
    second: Sequence[float],
    clusters: Sequence[Hashable],
    bound: float,
    *,
    level: float = 0.05,
) -> EquivalenceTest:
    """Test whether two methods differ by less than a bound, over clusters of pairs that aren't independent.

    The two are equal at this level just where the interval lies within the bounds.

    Args:
        first: a value for each pair.
        second: the other method's, in the same order.
        clusters: which cluster each pair is of, such as the set that its adapters were trained on.
        bound: how far apart they may be, more than 0.
        level: of each of the two tests.

    Raises:
        ValueError: as `paired_test`, or the bound isn't more than 0.

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
    student = stats.t(test.pairs - 1)
    error = (test.interval[1] - test.difference) / float(student.ppf(1 - level))
    above, below = (test.difference + bound) / error, (test.difference - bound) / error
    p = max(float(student.sf(above)), float(student.cdf(below)))
    return EquivalenceTest(test.pairs, test.difference, bound, test.interval, p)
