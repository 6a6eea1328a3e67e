from math import log

from numpy import array
from pytest import approx

from ia2.evaluation.labels import LabelEvaluation, Prediction


def evaluation():
    """Two rows of labels a and b: a right one that is sure, and a wrong one that is less so."""
    rows = (
        Prediction("q1", "a", "a", 0.5, True, "a", 0.9, True, (0.9, 0.1)),
        Prediction("q2", "b", "a", 0.4, False, "a", 0.6, False, (0.6, 0.4)),
    )
    return LabelEvaluation(rows, "token", ("a", "b"))


def test_labels_and_probabilities_stand_in_the_order_of_rows():
    assert evaluation().right.tolist() == [0, 1]
    assert evaluation().probabilities == approx(array([[0.9, 0.1], [0.6, 0.4]]))


def test_a_temperature_of_1_changes_nothing():
    metrics, same = evaluation().metrics(), evaluation().scaled_metrics(1.0)
    assert same["temperature"] == 1
    for name, scaled in (("label_ece", "scaled_ece"), ("nll", "scaled_nll"), ("brier", "scaled_brier")):
        assert same[scaled] == approx(metrics[name])
        assert same[f"{scaled}_interval"] == approx(metrics[f"{name}_interval"])


def test_scores_at_a_temperature_worked_by_hand():
    scores = evaluation().scaled_metrics(2.0)
    # square roots: 3 to 1 is 0.75, and √1.5 to 1
    share = 1.5**0.5 / (1.5**0.5 + 1)
    assert scores["scaled_nll"] == approx((-log(0.75) - log(1 - share)) / 2)
    assert scores["scaled_brier"] == approx((2 * 0.25**2 + 2 * share**2) / 2)
    # each row is alone in its bin
    assert scores["scaled_ece"] == approx((0.25 + share) / 2)
    low, high = scores["scaled_nll_interval"]
    assert low == approx(-log(0.75))
    assert high == approx(-log(1 - share))
