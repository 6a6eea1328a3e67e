import warnings
from math import log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import array
from pytest import approx
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, f1_score, log_loss
from torchmetrics.functional.classification import (
    multiclass_confusion_matrix,
    multiclass_f1_score,
    multiclass_precision,
    multiclass_recall,
)

from ia2.evaluation.classification import WITHOUT_CLASSES, classification_metrics
from ia2.evaluation.metrics import accuracy, bootstrap_interval
from ia2.records import Record

# five rows of three labels: a a a b c, answered a a b b b
RIGHT = array([0, 0, 0, 1, 2])
PROBABILITIES = array([[0.8, 0.1, 0.1], [0.5, 0.25, 0.25], [0.2, 0.6, 0.2], [0.0, 1.0, 0.0], [0.3, 0.6, 0.1]])


@st.composite
def evaluations(draw):
    """Right labels and probabilities of rows, where some labels may never occur."""
    labels, rows = draw(st.integers(2, 5)), draw(st.integers(1, 30))
    chance = np.random.default_rng(draw(st.integers(0, 10_000)))
    return chance.integers(0, draw(st.integers(1, labels)), rows), chance.dirichlet(np.full(labels, 0.5), rows)


def test_scores_of_five_rows_worked_by_hand():
    measured = classification_metrics(RIGHT, PROBABILITIES, ("a", "b", "c"))
    # a: 2 of 2 answers right, 2 of 3 found; b: 1 of 3 answers right, 1 of 1 found; c: never answered
    by_class = {row["label"]: (row["precision"], row["recall"], row["f1"], row["n"]) for row in measured["classes"]}
    assert by_class["a"] == approx((1, 2 / 3, 0.8, 3))
    assert by_class["b"] == approx((1 / 3, 1, 0.5, 1))
    assert by_class["c"] == (0, 0, 0, 1)
    assert measured["confusion"] == [[2, 1, 0], [0, 1, 0], [0, 1, 0]]
    assert measured["macro_f1"] == approx((0.8 + 0.5 + 0) / 3)
    assert measured["balanced_accuracy"] == approx((2 / 3 + 1 + 0) / 3)
    assert measured["nll"] == approx(-(log(0.8) + log(0.5) + log(0.2) + log(1) + log(0.1)) / 5)
    # a row has (p - 1)² of the right label and p² of the others
    rows = (0.04 + 0.01 + 0.01, 0.25 + 2 * 0.0625, 0.64 + 0.36 + 0.04, 0, 0.81 + 0.09 + 0.36)
    assert measured["brier"] == approx(sum(rows) / 5)


def test_labels_that_do_not_occur_count_in_no_mean_and_stand_in_the_table():
    measured = classification_metrics(array([0, 0]), array([[0.9, 0.1, 0.0], [0.6, 0.4, 0.0]]), ("a", "b", "c"))
    assert (measured["macro_f1"], measured["balanced_accuracy"]) == (1, 1)
    assert [row["n"] for row in measured["classes"]] == [2, 0, 0]
    assert measured["confusion"] == [[2, 0, 0], [0, 0, 0], [0, 0, 0]]


def test_a_record_of_thousands_of_labels_can_be_read_again(tmp_path):
    labels = [f"intent {number}" for number in range(1300)]
    measured = classification_metrics(array([3]), np.full((1, 1300), 1 / 1300), labels)
    # 1300 x 1300 counts, a line each in the record's file, would be over the 16 MiB that a record may have
    assert (measured["confusion"], len(measured["classes"])) == (None, 1300)
    written = Record(
        method="icl", model={"id": "tiny"}, task={"train": None, "eval": "toy"}, n=4, seed=0, lr=None, adapter=None,
        metrics={"n": 1, "accuracy": 0.0, **measured},
    ).write(tmp_path / "record.json", tmp_path / "rows.jsonl", [])  # fmt: skip
    assert Record.read(tmp_path / "record.json").metrics == written.metrics


def test_an_answer_that_was_impossible_has_a_finite_loss():
    # scikit-learn takes the smallest step from 1 of a double for 0
    measured = classification_metrics(array([0]), array([[0.0, 1.0]]), ("a", "b"))
    assert measured["nll"] == approx(52 * log(2))
    assert measured["nll_interval"] == approx((52 * log(2), 52 * log(2)))
    assert measured["brier"] == 2


def test_one_label_alone_is_never_wrong():
    measured = classification_metrics(array([0, 0]), array([[1.0], [1.0]]), ("a",))
    assert (measured["macro_f1"], measured["nll"], measured["brier"]) == (1, 0, 0)


def test_no_rows_are_refused():
    with pytest.raises(ValueError, match="no rows"):
        classification_metrics(array([], dtype=int), np.empty((0, 2)), ("a", "b"))


def test_probabilities_of_single_precision_are_taken_as_they_are():
    rounded = PROBABILITIES.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured = classification_metrics(RIGHT, rounded, ("a", "b", "c"))
    assert measured["nll"] == approx(classification_metrics(RIGHT, PROBABILITIES, ("a", "b", "c"))["nll"], rel=1e-6)


@given(evaluations())
@settings(max_examples=25, deadline=None)
def test_scores_by_class_equal_torchmetrics(rows):
    right, probabilities = rows
    labels = probabilities.shape[1]
    measured = classification_metrics(right, probabilities, tuple("abcde"[:labels]))
    answers, target = torch.from_numpy(probabilities.argmax(1)), torch.from_numpy(right)
    asked = {"num_classes": labels, "average": None}
    for name, score in (
        ("precision", multiclass_precision),
        ("recall", multiclass_recall),
        ("f1", multiclass_f1_score),
    ):
        assert [row[name] for row in measured["classes"]] == approx(score(answers, target, **asked).tolist())
    assert measured["confusion"] == multiclass_confusion_matrix(answers, target, labels).tolist()
    assert measured["macro_f1"] == approx(multiclass_f1_score(answers, target, labels, average="macro").item())


@given(evaluations())
@settings(max_examples=2, deadline=None)
def test_intervals_are_those_of_scikit_learns_scores_in_each_resample(rows):
    right, probabilities = rows
    answers, labels = probabilities.argmax(1), probabilities.shape[1]
    measured = classification_metrics(right, probabilities, tuple("abcde"[:labels]))
    every = range(labels)
    scores = {
        "macro_f1": (lambda right, answers: f1_score(right, answers, average="macro", zero_division=0), answers),
        "balanced_accuracy": (balanced_accuracy_score, answers),
        "nll": (lambda right, shares: log_loss(right, shares, labels=every), probabilities),
        "brier": (
            lambda right, shares: brier_score_loss(right, shares, labels=every, scale_by_half=False),
            probabilities,
        ),
    }
    with warnings.catch_warnings():
        # of answers that are never right, and of resamples with one class
        warnings.simplefilter("ignore")
        for name, (score, of) in scores.items():
            assert measured[name] == approx(score(right, of))
            assert measured[f"{name}_interval"] == approx(bootstrap_interval(score, right, of))


def test_an_interval_of_balanced_classes_is_as_wide_as_accuracys():
    chance = np.random.default_rng(0)
    right = np.repeat([0, 1], 200)
    answers = np.where(chance.random(400) < 0.7, right, 1 - right)
    measured = classification_metrics(right, np.eye(2)[answers], ("a", "b"))
    assert measured["balanced_accuracy_interval"] == approx(bootstrap_interval(accuracy, right == answers), abs=0.005)


def test_free_text_has_none_of_what_labels_have():
    measured = classification_metrics(RIGHT, PROBABILITIES, ("a", "b", "c"))
    assert WITHOUT_CLASSES.keys() == {name for name in measured if not name.endswith("_interval")}
