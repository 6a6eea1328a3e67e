"""Chooses the methods whose other scores may be marked as best, by the one-standard-error rule for accuracy.

A method that guesses at random can be well calibrated, so the lowest ECE alone means little.
"""

import math
import statistics
from collections.abc import Sequence

from ia2.reports.aggregate import Result

BEST_ACCURACY = "The highest accuracy in each setting is bold; so are ties at the printed precision."
BEST_ECE = (
    "A bold ECE is the lowest among the methods that are about as accurate as the best: their mean accuracy is at most "
    "one standard error (of the paired difference over sets) below the highest or, with one set, equal to it as "
    "printed."
)


def as_accurate(cells: Sequence[Result]) -> list[Result]:
    """Return the results of a setting that are about as accurate as the best (one-standard-error rule).

    Args:
        cells: results of one setting, over the same number of sets; those without an accuracy are skipped.
    """
    measured = [cell for cell in cells if cell.accuracy]
    if not measured:
        return []
    leader = max(measured, key=lambda cell: statistics.fmean(cell.accuracy))
    return [cell for cell in measured if _no_worse(cell, leader)]


def _no_worse(cell: Result, leader: Result) -> bool:
    printed, highest = (round(100 * statistics.fmean(each.accuracy), 1) for each in (cell, leader))
    if printed == highest:
        return True
    theirs, best = (
        {record.seeds: record.metrics.accuracy for record in each.records if record.metrics.accuracy is not None}
        for each in (cell, leader)
    )
    differences = [best[seeds] - theirs[seeds] for seeds in best if seeds in theirs]
    if len(differences) < 2:
        return False
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    difference = statistics.fmean(differences)
    # with two sets that differ in only one, both sides are equal up to rounding
    return difference < error or math.isclose(difference, error)
