"""Whether one method is better than another: paired t-tests, exact sign-flip tests, Holm's correction, and power."""

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special, stats

ROUNDING = 1e-12
"""Differences that vary by less than this share of the values are the same but for rounding."""

NODES = 200
"""At which power is averaged."""
MOST_FLIPPED = 20
"""Clusters whose 2**20 assignments of signs are counted in a moment."""


@dataclass(frozen=True)
class PairedTest:
    """The difference of two methods over matched pairs, in the unit of the values compared.

    For a single pair, or if all differences are equal, their variation is unknown: only the mean difference is given.
    """

    pairs: int
    difference: float
    """The mean of the first method's values less the second's."""
    interval: tuple[float, float] | None
    """Student's t confidence interval of the mean difference."""
    t: float | None
    """The mean difference over its standard error, with pairs - 1 degrees of freedom."""
    p: float | None
    """Two-sided p value, as in Table 8."""


def paired_test(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95) -> PairedTest:
    """Compare two methods over matched pairs (PROTOCOL, Evaluation; Table 8).

    The test assumes that pairs are independent. Pairs of one set on several evaluation tasks share an adapter, and
    pairs of one set with several models share its rows, so p is too low if they are correlated; `clustered_test` only
    assumes independent sets.

    Args:
        first: the first method's value for each pair, such as the accuracy of IA2→SFT on a set and evaluation task. If
            less is better, as for ECE, Table 8 has a positive t when SFT comes first.
        second: the second method's values for the same pairs, in the same order.
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: there are no pairs, they don't match, or a value isn't finite.

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
    reach = float(student.ppf((1 + confidence) / 2)) * error
    t = difference / error
    return PairedTest(pairs, difference, (difference - reach, difference + reach), t, float(2 * student.sf(abs(t))))


def clustered_test(
    first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable], *, confidence: float = 0.95
) -> PairedTest:
    """Compare two methods over clusters of pairs that aren't independent: `paired_test` of the clusters' means.

    Args:
        first: a value for each pair.
        second: the other method's, in the same order.
        clusters: which cluster each pair is of, such as the set that its adapters were trained on.
        confidence: of the interval, in (0, 1).

    Returns:
        The test, whose pairs are the clusters; each counts once, however many pairs it has.

    Raises:
        ValueError: as `paired_test`, or there aren't as many clusters' names as pairs.

    Example:
        >>> clustered_test([0.7, 0.9, 0.6, 0.8], [0.6, 0.6, 0.6, 0.7], ["a", "a", "b", "b"]).pairs
        2
    """
    return paired_test(cluster_means(first, clusters), cluster_means(second, clusters), confidence=confidence)


def are_uneven(clusters: Sequence[Hashable]) -> bool:
    """Whether some clusters have more pairs than others, so that a mean over pairs isn't that over clusters.

    Example:
        >>> are_uneven(["a", "a", "b", "b"]), are_uneven(["a", "a", "b"])
        (False, True)
    """
    return len(set(Counter(clusters).values())) > 1


def cluster_means(values: Sequence[float], clusters: Sequence[Hashable]) -> list[float]:
    """The mean of each cluster's values, in the order in which clusters are met.

    Args:
        values: a value for each pair.
        clusters: which cluster each pair is of.
    """
    of_cluster: dict[Hashable, list[float]] = defaultdict(list)
    for value, cluster in zip(values, clusters, strict=True):
        of_cluster[cluster].append(value)
    return list(map(statistics.fmean, of_cluster.values()))


def sign_flip_p(first: Sequence[float], second: Sequence[float], clusters: Sequence[Hashable]) -> float | None:
    """How often a mean difference is at least as far from 0 as it is, if every cluster's sign were a coin's, two-sided.

    All assignments of signs are counted, so that it holds for differences of any distribution that is symmetric about 0
    where there is no difference; the least p of k clusters is 2 / 2**k.

    Args:
        first: a value for each pair.
        second: the other method's, in the same order.
        clusters: which cluster each pair is of; those of one keep their signs together.

    Returns:
        p; None for more than `MOST_FLIPPED` clusters, whose assignments are too many to count.

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
    # a sum in another order may differ in its last digits
    return float((np.abs(total) >= observed - ROUNDING * np.abs(differences).sum()).mean())


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p of several tests, corrected so that one of them is below α by chance no more often than α (Holm 1979).

    Args:
        p_values: the tests' own; None where there is none, which counts for nothing.

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
    """How often a two-sided paired t-test finds a difference that is there, in [0, 1].

    Args:
        difference: the true mean difference.
        spread: the standard deviation of differences.
        pairs: how many there are, 2 or more.
        level: p at which a difference counts as found.
    """
    free = pairs - 1
    reach = float(stats.t(free).ppf(1 - level / 2))
    shift = difference / spread * math.sqrt(pairs)
    # averaged over what the standard deviation is estimated to be, at nodes of Gauss and Legendre over its quantiles;
    # scipy's noncentral t is NaN where shifts are large
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    bounds = reach * stats.chi(free).ppf((nodes + 1) / 2) / math.sqrt(free)
    return float(weights @ (special.ndtr(shift - bounds) + special.ndtr(-bounds - shift))) / 2


def detectable_difference(spread: float, pairs: int, *, level: float = 0.05, wanted: float = 0.8) -> float:
    """The smallest true mean difference that so many pairs find as often as is wanted.

    Args:
        spread: the standard deviation of differences, more than 0.
        pairs: how many there are, 2 or more.
        level: p at which a difference counts as found.
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
