import math
import random

import pytest

from ia2.analysis.equivalence import equivalence_test


def by_integration(t, free):
    """P(T > t) of Student's t, by Simpson's rule over its density."""
    constant = math.gamma((free + 1) / 2) / math.sqrt(free * math.pi) / math.gamma(free / 2)
    steps = 20_000
    width = abs(t) / steps
    values = [constant * (1 + (width * step) ** 2 / free) ** (-(free + 1) / 2) for step in range(steps + 1)]
    between = width / 3 * (values[0] + values[-1] + 4 * sum(values[1:-1:2]) + 2 * sum(values[2:-1:2]))
    return 0.5 - math.copysign(between, t)


def test_two_one_sided_tests_of_four_clusters_worked_by_hand():
    # clusters' means differ by 0, 1, 1 and 2: mean 1, standard deviation √(2/3), standard error √(2/3)/2
    first, second = [3.0, 5.0, 2.0, 3.0, 4.0], [3.0, 5.0, 1.0, 2.0, 2.0]
    test = equivalence_test(first, second, ["a", "a", "b", "c", "d"], bound=3.0)
    error = math.sqrt(2 / 3) / 2
    assert (test.pairs, test.difference, test.bound) == (4, 1.0, 3.0)
    # the 95th percentile of t with three degrees of freedom is 2.353 in any table
    assert test.interval == pytest.approx((1 - 2.3534 * error, 1 + 2.3534 * error), abs=1e-4)
    # the bound that is nearer, 2 below the upper one, decides
    assert test.p == pytest.approx(by_integration(2 / error, 3), abs=1e-8)


@pytest.mark.parametrize("bound", [0.35, 0.5])
def test_p_is_below_the_level_just_where_the_interval_lies_within_the_bounds(bound):
    chance = random.Random(1)
    seen = set()
    for _ in range(200):
        first = [chance.gauss(0.1, 0.4) for _ in range(6)]
        test = equivalence_test(first, [0.0] * 6, range(6), bound)
        within = -bound < test.interval[0] and test.interval[1] < bound
        assert (test.p < 0.05) == within
        seen.add(within)
    assert seen == {True, False}


def test_methods_that_are_a_bound_apart_are_taken_for_equal_one_time_in_twenty_at_most():
    chance = random.Random(0)
    trials = 4000
    equal = sum(
        equivalence_test([chance.gauss(0.5, 0.3) for _ in range(8)], [0.0] * 8, range(8), bound=0.5).p < 0.05
        for _ in range(trials)
    )
    assert equal / trials == pytest.approx(0.05, abs=3 * math.sqrt(0.05 * 0.95 / trials))


def test_without_a_spread_there_is_a_difference_alone():
    test = equivalence_test([1.0, 2.0], [0.5, 1.5], ["a", "b"], bound=1.0)
    assert (test.difference, test.interval, test.p) == (0.5, None, None)


def test_a_bound_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"a bound of 0.0: nothing differs by less than that"):
        equivalence_test([1.0], [1.0], ["a"], bound=0.0)
