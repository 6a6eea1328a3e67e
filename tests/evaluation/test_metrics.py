import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy import array
from pytest import approx
from scipy import stats
from torchmetrics.classification import BinaryCalibrationError

from ia2.evaluation.metrics import (
    accuracy,
    bootstrap_interval,
    cosine_similarity,
    expected_calibration_error,
    interval_over_sets,
    reliability_bins,
)

ROWS = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


def columns(rows):
    return array([row[0] for row in rows], dtype=np.float64), array([row[1] for row in rows], dtype=bool)


def test_ece_of_four_rows_worked_by_hand():
    # two slices: (0.2, 0.4) with accuracy 1/2 and mean 0.3; (0.9, 0.7) with accuracy 1/2 and mean 0.8
    value = expected_calibration_error(array([0.2, 0.4, 0.9, 0.7]), array([True, False, True, False]), bins=2)
    assert value == approx(0.5 * 0.2 + 0.5 * 0.3)


def test_equal_mass_gives_the_rest_to_the_last_slice_worked_by_hand():
    # 7 rows in 3 slices of 2, the last of 3: means 0.15, 0.35, 0.7; accuracies 1/2, 0, 2/3
    confidence = array([0.8, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7])
    correct = array([True, True, False, False, False, True, False])
    value = expected_calibration_error(confidence, correct, bins=3, binning="equal-mass")
    assert value == approx((2 * abs(0.5 - 0.15) + 2 * 0.35 + 3 * abs(2 / 3 - 0.7)) / 7)


def test_confidence_of_exactly_0_and_1_falls_in_the_first_and_last_slice():
    bins = reliability_bins(array([0.0, 1.0]), array([False, True]), bins=15)
    assert bins.count[0] == 1
    assert bins.count[-1] == 1
    assert bins.expected_error == 0


def test_fewer_rows_than_bins_are_one_slice_of_equal_mass():
    value = expected_calibration_error(array([0.2, 0.6]), array([True, True]), binning="equal-mass")
    assert value == approx(1 - 0.4)


def test_ties_of_confidence_are_cut_in_the_order_of_rows():
    bins = reliability_bins(array([0.5] * 4), array([True, True, False, False]), bins=2, binning="equal-mass")
    assert bins.accuracy.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("binning", ["equal-width", "equal-mass"])
def test_no_rows_are_refused(binning):
    with pytest.raises(ValueError, match="no rows"):
        expected_calibration_error(array([], dtype=float), array([], dtype=bool), binning=binning)
    with pytest.raises(ValueError, match="no rows"):
        accuracy(array([], dtype=bool))


def test_confidence_outside_0_to_1_is_refused():
    for wrong in (1.5, -0.1, float("nan")):
        with pytest.raises(ValueError, match="outside"):
            expected_calibration_error(array([wrong]), array([True]))


# torchmetrics 1.9 puts a confidence of exactly 1 into a slice of its own behind the last, and takes lower edges to be
# inclusive; both differ from ours only exactly on an edge
@given(st.lists(st.tuples(st.floats(0.001, 0.999), st.booleans()), min_size=1, max_size=60))
@settings(deadline=None)
def test_equal_width_ece_equals_torchmetrics(rows):
    confidence, correct = columns(rows)
    assume((np.abs(confidence * 15 - np.round(confidence * 15)) >= 1e-5).all())
    # of a binary classifier that always answers 1, confidence is the probability and being right the target
    reference = BinaryCalibrationError(n_bins=15, norm="l1")
    reference.update(torch.tensor(confidence), torch.tensor(correct, dtype=torch.int))
    assert expected_calibration_error(confidence, correct) == approx(reference.compute().item(), abs=1e-5)


@given(ROWS, st.randoms())
def test_ece_does_not_depend_on_the_order_of_rows(rows, random):
    shuffled = list(rows)
    random.shuffle(shuffled)
    first, second = (expected_calibration_error(*columns(order), binning="equal-width") for order in (rows, shuffled))
    assert first == approx(second, abs=1e-12)


@given(ROWS, st.sampled_from(["equal-width", "equal-mass"]))
def test_every_row_is_in_one_bin_and_ece_is_a_share(rows, binning):
    bins = reliability_bins(*columns(rows), binning=binning)
    assert bins.count.sum() == len(rows)
    assert 0 <= bins.expected_error <= 1
    assert (bins.count * bins.confidence).sum() == approx(columns(rows)[0].sum(), abs=1e-9)


def test_accuracy_is_the_share_of_right_rows():
    assert accuracy(array([True, False, False, True])) == 0.5


def test_bootstrap_interval_is_scipys_percentile_interval():
    correct = np.random.default_rng(1).random(200) < 0.8
    low, high = bootstrap_interval(accuracy, correct, resamples=4000)
    reference = stats.bootstrap(
        (correct.astype(float),), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert (low, high) == approx((reference.low, reference.high), abs=0.015)
    # and near the normal approximation
    assert high - low == approx(2 * 1.96 * np.sqrt(0.8 * 0.2 / 200), rel=0.15)


def test_bootstrap_draws_whole_rows_and_the_same_ones_each_time():
    left, right = np.arange(50), np.arange(50) * 2

    def doubled(a, b):
        assert (b == 2 * a).all()
        return float(a.mean())

    assert bootstrap_interval(doubled, left, right) == bootstrap_interval(doubled, left, right)


def test_bootstrap_of_one_value_is_that_value():
    assert bootstrap_interval(accuracy, array([True] * 5)) == (1.0, 1.0)


def test_cosine_similarity_against_float64():
    ours, theirs = torch.randn(3, 4, 8, dtype=torch.float64), torch.randn(3, 4, 8, dtype=torch.float64)
    expected = (ours * theirs).sum(-1) / (ours.norm(dim=-1) * theirs.norm(dim=-1))
    assert torch.allclose(cosine_similarity(ours, theirs).double(), expected, atol=1e-6)
    assert cosine_similarity(torch.zeros(2, 3), torch.ones(2, 3)).tolist() == [0.0, 0.0]


def test_the_interval_of_one_set_is_that_of_its_rows_alone():
    rows = np.random.default_rng(0).random((1, 40)) < 0.7
    low, high = interval_over_sets(lambda values: float(np.mean(values)), rows, resamples=4000)
    share = float(rows.mean())
    # the normal approximation of a proportion, which a percentile interval of 40 rows is near to
    half = 1.96 * (share * (1 - share) / 40) ** 0.5
    assert (low, high) == (approx(share - half, abs=0.03), approx(share + half, abs=0.03))


def test_sets_that_differ_widen_the_interval():
    alike = np.tile(np.arange(40) < 30, (3, 1))
    apart = np.stack([np.arange(40) < 40, np.arange(40) < 30, np.arange(40) < 20])
    narrow, wide = (interval_over_sets(lambda rows: float(np.mean(rows)), sets) for sets in (alike, apart))
    assert wide[1] - wide[0] > 1.5 * (narrow[1] - narrow[0])
    assert wide[0] < narrow[0] < 0.75 < narrow[1] < wide[1]


def test_columns_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match="one shape"):
        interval_over_sets(lambda a, b: 0.0, np.zeros((2, 3)), np.zeros((3, 3)))
    with pytest.raises(ValueError, match="at least 1 set of 1 row"):
        interval_over_sets(lambda a: 0.0, np.zeros((2, 0)))
