"""Whether one method is better than another: a paired t-test over matched sets and tasks (appendix B, Table 8)."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

ROUNDING = 1e-12
"""Differences that vary by less than this share of the values are the same but for rounding."""


@dataclass(frozen=True)
class PairedTest:
    """How far two methods are apart over the same pairs, in the unit of what was compared.

    Of a single pair, or where all differences are the same, nothing says how much they would vary: there is a mean
    difference and nothing else.
    """

    pairs: int
    difference: float
    """The mean of the first method's values less the second's."""
    interval: tuple[float, float] | None
    """Where the mean difference lies with the confidence asked for, by Student's t."""
    t: float | None
    """The mean difference over its standard error, with pairs - 1 degrees of freedom."""
    p: float | None
    """How often differences of a mean of 0 would be at least this far from it, in either direction (Table 8's)."""


def paired_test(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95) -> PairedTest:
    """Compare two methods over matched pairs (PROTOCOL, Evaluation; Table 8).

    The test takes pairs as independent. Those of one set on several evaluation tasks share an adapter, so p is too low
    where they go together.

    Args:
        first: a value for each pair of set and evaluation task, such as accuracies of IA2→SFT. Where less is better,
            as for ECE, Table 8 has a positive t when SFT comes first.
        second: the other method's for the same pairs, in the same order.
        confidence: of the interval, in (0, 1).

    Raises:
        ValueError: there are no pairs, they don't match, or a value isn't a finite number.

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
