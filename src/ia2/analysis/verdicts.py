"""Verdicts on claims from comparisons: the claim holds, it doesn't hold, or the comparison is inconclusive."""

from typing import Literal

from ia2.analysis.equivalence import EquivalenceTest
from ia2.analysis.significance import PairedTest

Verdict = Literal["holds", "doesn't hold", "inconclusive"]
LEAST_PAIRS = 5
"""Minimum number of pairs for a verdict: with fewer, the spread of the differences is poorly estimated."""


def verdict_on_difference(test: PairedTest, direction: int) -> Verdict:
    """Return the verdict on the claim that the first method's values are higher, or lower, than the second's.

    Args:
        test: the comparison of the two methods, over independent pairs.
        direction: 1 if the claim is that the values are higher, -1 if it is that they are lower.

    Returns:
        "holds" if the whole interval is on the claim's side of 0; "doesn't hold" if it is on the other side; and
        "inconclusive" if it contains 0, there are fewer than `LEAST_PAIRS` pairs, or the variance is unknown.

    Example:
        >>> from ia2.analysis.significance import paired_test
        >>> verdict_on_difference(paired_test([3.0, 4.0, 3.0, 4.0, 3.0], [1.0] * 5), 1)
        'holds'
    """
    if test.pairs < LEAST_PAIRS or test.interval is None:
        return "inconclusive"
    low, high = sorted(direction * end for end in test.interval)
    return "holds" if low > 0 else "doesn't hold" if high < 0 else "inconclusive"


def verdict_on_equality(test: EquivalenceTest) -> Verdict:
    """Return the verdict on the claim that two methods differ by less than the bound.

    Returns:
        "holds" if the whole interval lies within the bounds; "doesn't hold" if it lies beyond one of them; and
        "inconclusive" if it contains a bound, there are fewer than `LEAST_PAIRS` pairs, or the variance is unknown.
    """
    if test.pairs < LEAST_PAIRS or test.interval is None:
        return "inconclusive"
    low, high = test.interval
    if -test.bound < low and high < test.bound:
        return "holds"
    return "doesn't hold" if low > test.bound or high < -test.bound else "inconclusive"
