import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ia2.analysis.significance import (
    PairedTest,
    clustered_test,
    detectable_difference,
    holm,
    paired_test,
    power,
    sign_flip_p,
)


@given(st.integers(0, 10**6), st.integers(2, 40), st.sampled_from([0.9, 0.95, 0.99]))
def test_a_paired_test_is_scipys(seed, pairs, confidence):
    generator = np.random.default_rng(seed)
    first = generator.uniform(0, 1, pairs)
    second = np.clip(first + generator.normal(0.05, 0.1, pairs), 0, 1)
    ours = paired_test(first.tolist(), second.tolist(), confidence=confidence)
    theirs = stats.ttest_rel(first, second)
    interval = theirs.confidence_interval(confidence)
    assert (ours.t, ours.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9)
    assert ours.interval == pytest.approx((interval.low, interval.high), rel=1e-9, abs=1e-12)
    assert ours.difference == pytest.approx((first - second).mean())
    assert ours.pairs == pairs


def test_three_pairs_worked_by_hand():
    # differences 1, 2, 3: mean 2, standard deviation 1, so t = 2√3; with 2 degrees of freedom
    # p = 1 - t/√(t² + 2) = 1 - √(12/14), and 97.5 % lies below 4.302653
    found = paired_test([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found.difference == pytest.approx(2)
    assert found.t == pytest.approx(2 * 3**0.5)
    assert found.p == pytest.approx(1 - (12 / 14) ** 0.5)
    assert found.interval == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5), abs=1e-6)


@pytest.mark.parametrize(
    ("pairs", "t", "p"), [(35, 6.0541, 7.328e-07), (105, 2.3293, 0.02178), (100, 6.1933, 1.348e-08)]
)
def test_p_counts_both_directions_as_in_table_8(pairs, t, p):
    # the paper prints t and p; these many pairs are those that go with both
    spread = stats.zscore(np.arange(pairs), ddof=1)
    values = (spread + t / pairs**0.5).tolist()
    found = paired_test(values, [0.0] * pairs)
    assert found.t == pytest.approx(t)
    assert found.p == pytest.approx(p, rel=2e-3)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=9))
def test_the_other_way_round_it_says_the_opposite(pairs):
    first, second = map(list, zip(*pairs, strict=True))
    there, back = paired_test(first, second), paired_test(second, first)
    assert there.difference == pytest.approx(-back.difference, abs=1e-15)
    assert (there.t is None) == (back.t is None) == (there.p is None) == (there.interval is None)
    if there.t is not None:
        assert there.t == pytest.approx(-back.t)
        assert there.p == pytest.approx(back.p)
        assert there.interval == pytest.approx([-bound for bound in reversed(back.interval)])


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        ([0.7], [0.5], 0.2),
        ([0.6, 0.8], [0.6, 0.8], 0.0),
        # 0.3 - 0.2 and 0.8 - 0.7 differ in their last digits, which is no variation
        ([0.3, 0.8, 0.2], [0.2, 0.7, 0.1], 0.1),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
    ],
)
def test_without_variation_there_is_a_difference_and_nothing_else(first, second, difference):
    found = paired_test(first, second)
    assert found == PairedTest(len(first), found.difference, None, None, None)
    assert found.difference == pytest.approx(difference)


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ([], [], "no pairs"),
        ([0.5, 0.6], [0.5], "2 and 1 values"),
        ([0.5, float("nan")], [0.5, 0.6], "no finite number"),
    ],
)
def test_what_makes_no_pairs_is_refused(first, second, said):
    with pytest.raises(ValueError, match=said):
        paired_test(first, second)


def test_pairs_of_a_set_count_once_together():
    # two models on five sets: the test is scipy's of the sets' means
    first = [0.7, 0.9, 0.6, 0.8, 0.75, 0.65, 0.9, 0.8, 0.85, 0.7]
    second = [0.6, 0.6, 0.6, 0.7, 0.8, 0.6, 0.7, 0.75, 0.8, 0.65]
    sets = [0, 1, 2, 3, 4] * 2
    ours, theirs = ([(values[i] + values[i + 5]) / 2 for i in range(5)] for values in (first, second))
    expected = stats.ttest_rel(ours, theirs)
    test = clustered_test(first, second, sets)
    assert (test.pairs, test.t, test.p) == (5, pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert test.interval == pytest.approx(tuple(expected.confidence_interval()))
    # each in a cluster of its own is the paired test itself
    assert clustered_test(first, second, range(10)) == paired_test(first, second)
    # of sets of different sizes each counts once: means 1 and 4
    assert clustered_test([1.0, 1.0, 1.0, 4.0], [0.0] * 4, "aaab").difference == pytest.approx(2.5)


@settings(deadline=None, max_examples=30)  # scipy takes its time
@given(st.lists(st.floats(-1, 1).filter(lambda value: abs(value) > 1e-3), min_size=2, max_size=8))
def test_the_sign_flip_test_is_scipys_exact_permutation_test(differences):
    zeros = [0.0] * len(differences)
    expected = stats.permutation_test(
        (differences, zeros), lambda a, b: abs(np.mean(a - b)), permutation_type="samples", alternative="greater"
    )
    ours = sign_flip_p(differences, zeros, range(len(differences)))
    # where two assignments of signs give the same sum but for rounding, scipy's tolerance decides as well
    assert ours == pytest.approx(expected.pvalue, abs=1e-9)
    assert ours >= 2 / 2 ** len(differences)


def test_a_sign_flip_worked_by_hand():
    # |±3 ±1 ±1| is 5, 3, 3 and 1, twice each: of eight assignments six are at least as far as 3 - 1 + 1
    assert sign_flip_p([3.0, -1.0, 1.0], [0.0] * 3, "abc") == 0.75
    assert sign_flip_p([3.0, 1.0, 1.0], [0.0] * 3, "abc") == 0.25
    assert sign_flip_p([3.0, 1.0, 1.0], [0.0] * 3, "aaa") == 1.0
    assert sign_flip_p([1.0] * 21, [0.0] * 21, range(21)) is None


def test_holm_worked_by_hand():
    # 0.01 · 4, 0.02 · 3, 0.02 · 2 (no less than the one before), 0.9 · 1
    assert holm([0.9, 0.01, 0.02, 0.02, None]) == pytest.approx([0.9, 0.04, 0.06, 0.06, None])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_power_is_how_often_simulated_tests_find_the_difference():
    generator = np.random.default_rng(0)
    samples = generator.normal(1.0, 1.0, (20_000, 5))
    found = (stats.ttest_1samp(samples, 0.0, axis=1).pvalue < 0.05).mean()
    assert power(1.0, 1.0, 5) == pytest.approx(found, abs=0.01)
    # nothing to be found is found as often as the level
    assert power(0.0, 1.0, 5, level=0.1) == pytest.approx(0.1, abs=1e-5)
    size = detectable_difference(3.0, 7)
    assert power(size, 3.0, 7) == pytest.approx(0.8)
    assert detectable_difference(6.0, 7) == pytest.approx(2 * size)
    # of two pairs the difference must be very large
    assert power(detectable_difference(1.0, 2), 1.0, 2) == pytest.approx(0.8)
