"""The verdict of a comparison on a claim: it holds, it doesn't hold, or the comparison is inconclusive."""

from typing import Literal

from ia2.analysis.equivalence import EquivalenceTest
from ia2.analysis.significance import PairedTest

Verdict = Literal["holds", "doesn't hold", "inconclusive"]
LEAST_PAIRS = 5
"""Pairs from which on there is a p: from fewer, the spread of the differences is little more than a guess."""


def verdict_on_difference(test: PairedTest, direction: int) -> Verdict:
    """Whether the first method's values are higher, or lower, than the second's.

    Args:
        test: of the two, over what is independent.
        direction: 1 where the claim is that they are higher, -1 where it is that they are lower.

    Returns:
        "holds" where the whole interval is on the claim's side of 0, "doesn't hold" where it is on the other side, and
        "inconclusive" where it covers 0, or where there are fewer than `LEAST_PAIRS` pairs or nothing says how much
        they vary.

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
    """Whether two methods differ by less than the bound.

    Returns:
        "holds" where the whole interval lies within the bounds, "doesn't hold" where it lies beyond one of them, and
        "inconclusive" where it covers one, or where there are fewer than `LEAST_PAIRS` pairs or nothing says how much
        they vary.
    """
    if test.pairs < LEAST_PAIRS or test.interval is None:
        return "inconclusive"
    low, high = test.interval
    if -test.bound < low and high < test.bound:
        return "holds"
    return "doesn't hold" if low > test.bound or high < -test.bound else "inconclusive"
