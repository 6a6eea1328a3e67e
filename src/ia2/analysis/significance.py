"""Comparing two methods: paired t-tests, exact sign-flip tests, Holm's correction, and statistical power."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

ROUNDING = 1e-12
"""Differences whose spread is below this share of the values are equal up to rounding."""

NODES = 200
"""Number of quadrature nodes for power."""
MOST_FLIPPED = 20
"""Maximum number of clusters for a sign-flip test; its 2**20 sign assignments are enumerated quickly."""


@dataclass(frozen=True)
class PairedTest:
    """The difference between two methods over matched pairs, in the unit of the compared values.

    For a single pair, or if all differences are equal, their variance is unknown, and only the mean difference is
    given.
    """

    pairs: int
    difference: float
    """Mean of the first method's values minus the second's."""
    interval: tuple[float, float] | None
    """Student's t confidence interval of the mean difference."""
    t: float | None
    """The mean difference divided by its standard error, with pairs - 1 degrees of freedom."""
    p: float | None
    """Two-sided p value, as in Table 8."""


def paired_test(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95) -> PairedTest:
    """Compare two methods over matched pairs (PROTOCOL, Evaluation; Table 8).

    The test assumes that pairs are independent. Pairs of one set on several evaluation tasks share an adapter, and
    pairs of one set with several models share its rows, so p is too low if they are correlated; `clustered_test` only
    assumes independent sets.

    Args:
        first: the first method's value for each pair, such as the accuracy of IA2→SFT on a set and evaluation task. If
            lower is better, as for ECE, Table 8 has a positive t when SFT comes first.
        second: the second method's values for the same pairs, in the same order.
        confidence: confidence level of the interval, in (0, 1).

    Raises:
        ValueError: there are no pairs, the lengths differ, or a value isn't finite.

    Example:
        >>> test = paired_test([0.7, 0.8, 0.9], [0.6, 0.75, 0.7])
        >>> round(test.difference, 3), test.p < 0.2
        (0.117, True)
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} values make no pairs")
    if not first:
        raise ValueError("a comparison over no pairs is not defined")
    if not all(map(math.isfinite, (*first, *second))):
        raise ValueError("a value that is no finite number can't be compared")
    differences = [a - b for a, b in zip(first, second, strict=True)]
    pairs, difference = len(differences), statistics.fmean(differences)
    spread = statistics.stdev(differences) if pairs > 1 else 0.0
    if spread <= ROUNDING * max(map(abs, (*first, *second))):
        return PairedTest(pairs, difference, None, None, None)
    error = spread / math.sqrt(pairs)
    student = stats.t(pairs - 1)
    half_width = float(student.ppf((1 + confidence) / 2)) * error
    t = difference / error
    return PairedTest(
        pairs, difference, (difference - half_width, difference + half_width), t, float(2 * student.sf(abs(t)))
    )


def clustered_test(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable], *, confidence: float = 0.95
) -> PairedTest:
    """Compare two methods over clusters of dependent pairs, by `paired_test` of the cluster means.

    Args:
        first: the first method's value for each pair.
        second: the second method's values for the same pairs, in the same order.
        clusters: the cluster of each pair, such as the set that its adapters were trained on.
        confidence: confidence level of the interval, in (0, 1).

    Returns:
        The test, whose pairs are the clusters. Each cluster counts once, whatever its number of pairs.

    Raises:
        ValueError: as for `paired_test`, or the number of cluster names differs from the number of pairs.

    Example:
        >>> clustered_test([0.7, 0.9, 0.6, 0.8], [0.6, 0.6, 0.6, 0.7], ["a", "a", "b", "b"]).pairs
        2
    """
    return paired_test(cluster_means(first, clusters), cluster_means(second, clusters), confidence=confidence)


def are_uneven(clusters: Sequence[Hashable]) -> bool:
    """Return whether some clusters have more pairs than others, so that a mean over pairs isn't that over clusters.

    Example:
        >>> are_uneven(["a", "a", "b", "b"]), are_uneven(["a", "a", "b"])
        (False, True)
    """
    return len(set(Counter(clusters).values())) > 1


def cluster_means(values: Sequence[float], clusters: Sequence[Hashable]) -> list[float]:
    """Return the mean of each cluster's values, in the order in which the clusters first appear.

    Args:
        values: one value per pair.
        clusters: the cluster of each pair.
    """
    values_by_cluster: dict[Hashable, list[float]] = defaultdict(list)
    for value, cluster in zip(values, clusters, strict=True):
        values_by_cluster[cluster].append(value)
    return list(map(statistics.fmean, values_by_cluster.values()))


def sign_flip_p(first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable]) -> float | None:
    """Return the two-sided p value of an exact sign-flip test of the mean difference, over clusters.

    All sign assignments are enumerated, so the test is exact for any distribution of differences that is symmetric
    about 0 under the null hypothesis. The smallest possible p of k clusters is 2 / 2**k.

    Args:
        first: the first method's value for each pair.
        second: the second method's values for the same pairs, in the same order.
        clusters: the cluster of each pair; the pairs of a cluster share a sign.

    Returns:
        p; None for more than `MOST_FLIPPED` clusters, which have too many assignments to enumerate.

    Example:
        >>> sign_flip_p([2.0, 3.0, 1.0], [0.0, 0.0, 0.0], ["a", "b", "c"])  # of 8 assignments two are as far
        0.25
    """
    ours, theirs = cluster_means(first, clusters), cluster_means(second, clusters)
    differences = np.array(ours) - np.array(theirs)
    count = len(differences)
    if count > MOST_FLIPPED:
        return None
    numbers = np.arange(2**count)
    total = np.zeros(2**count)
    for bit, difference in enumerate(differences):
        total += np.where(numbers >> bit & 1, difference, -difference)
    observed = abs(differences.sum())
    # sums in a different order can differ by rounding
    return float((np.abs(total) >= observed - ROUNDING * np.abs(differences).sum()).mean())


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for multiple testing, controlling the family-wise error rate (Holm 1979).

    Args:
        p_values: the uncorrected p values; None entries are ignored.

    Example:
        >>> holm([0.01, 0.04, None, 0.03])
        [0.03, 0.06, None, 0.06]
    """
    order = sorted((p, index) for index, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, index) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[index] = largest
    return corrected


def power(difference: float, spread: float, pairs: int, *, level: float = 0.05) -> float:
    """Return the power of a two-sided paired t-test, in [0, 1].

    Args:
        difference: the true mean difference.
        spread: the standard deviation of differences.
        pairs: number of pairs, at least 2.
        level: significance level.
    """
    degrees_of_freedom = pairs - 1
    critical_t = float(stats.t(degrees_of_freedom).ppf(1 - level / 2))
    shift = difference / spread * math.sqrt(pairs)
    # averaged over the sampling distribution of the standard deviation, by Gauss-Legendre quadrature over its
    # quantiles; scipy's noncentral t is NaN for large shifts
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    bounds = critical_t * stats.chi(degrees_of_freedom).ppf((nodes + 1) / 2) / math.sqrt(degrees_of_freedom)
    return float(weights @ (special.ndtr(shift - bounds) + special.ndtr(-bounds - shift))) / 2


def detectable_difference(spread: float, pairs: int, *, level: float = 0.05, wanted: float = 0.8) -> float:
    """Return the smallest true mean difference that a two-sided paired t-test detects with the wanted power.

    Args:
        spread: the standard deviation of differences, more than 0.
        pairs: number of pairs, at least 2.
        level: significance level.
        wanted: the power, in (level, 1).

    Example:
        >>> round(detectable_difference(1.0, 5), 2)  # of five pairs: 1.68 standard deviations
        1.68
    """
    largest = 1.0
    while power(largest, 1.0, pairs, level=level) < wanted:
        largest *= 2
    share = optimize.brentq(lambda size: power(size, 1.0, pairs, level=level) - wanted, 0.0, largest)
    return float(share) * spread
