import pytest

from ia2.analysis.equivalence import EquivalenceTest
from ia2.analysis.significance import PairedTest
from ia2.analysis.verdicts import verdict_on_difference, verdict_on_equality


@pytest.mark.parametrize(
    ("interval", "pairs", "higher", "lower"),
    [
        ((0.1, 3.0), 5, "holds", "doesn't hold"),
        ((-3.0, -0.1), 5, "doesn't hold", "holds"),
        ((-1.0, 3.0), 5, "inconclusive", "inconclusive"),
        ((0.0, 3.0), 5, "inconclusive", "inconclusive"),
        ((0.1, 3.0), 4, "inconclusive", "inconclusive"),
        (None, 5, "inconclusive", "inconclusive"),
    ],
)
def test_a_claim_holds_where_the_whole_interval_is_on_its_side_of_nothing(interval, pairs, higher, lower):
    test = PairedTest(pairs, 1.0, interval, 2.0, 0.04)
    assert (verdict_on_difference(test, 1), verdict_on_difference(test, -1)) == (higher, lower)


@pytest.mark.parametrize(
    ("interval", "pairs", "verdict"),
    [
        ((-1.9, 1.9), 5, "holds"),
        ((-2.0, 1.9), 5, "inconclusive"),
        ((-1.0, 2.5), 5, "inconclusive"),
        ((-9.0, 9.0), 5, "inconclusive"),
        ((2.1, 2.5), 5, "doesn't hold"),
        ((-2.5, -2.1), 5, "doesn't hold"),
        ((-1.0, 1.0), 4, "inconclusive"),
        (None, 5, "inconclusive"),
    ],
)
def test_two_are_equal_where_the_whole_interval_lies_within_the_bounds(interval, pairs, verdict):
    assert verdict_on_equality(EquivalenceTest(pairs, 0.0, 2.0, interval, 0.01)) == verdict
