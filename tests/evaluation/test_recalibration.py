from dataclasses import replace
from math import exp

import numpy as np
from numpy import array
from pytest import approx

from ia2.evaluation.labels import LabelEvaluation, Prediction
from ia2.evaluation.recalibration import batch, content_free_rows, contextual, recalibrated
from ia2.tasks.task import Example, Task


def test_contextual_calibration_worked_by_hand():
    # p_cf = (0.7, 0.3): ratios of the first row are 6/7 and 4/3
    calibrated = contextual(array([[0.6, 0.4], [0.7, 0.3]]), array([[0.8, 0.2], [0.6, 0.4]]))
    first, second = exp(6 / 7), exp(4 / 3)
    assert calibrated[0] == approx([first / (first + second), second / (first + second)])
    assert calibrated[1] == approx([0.5, 0.5])


def test_batch_calibration_worked_by_hand():
    # the mean is (0.6, 0.3, 0.1), so that the second row's differences are 0.1, -0.1, 0
    calibrated = batch(array([[0.5, 0.4, 0.1], [0.7, 0.2, 0.1]]))
    odds = np.exp([0.1, -0.1, 0.0])
    assert calibrated[1] == approx(odds / odds.sum())
    assert calibrated.argmax(1).tolist() == [1, 0]
    # against the mean of other rows
    assert batch(array([[0.5, 0.5]]), array([[0.9, 0.1], [0.7, 0.3]])).argmax(1).tolist() == [1]


def test_a_label_that_nothing_content_free_has_is_no_division_by_0():
    assert contextual(array([[0.5, 0.5]]), array([[1.0, 0.0]]))[0] == approx([0, 1])


def test_content_free_queries_keep_the_form_of_the_tasks():
    rows = [Example(f"Text:{text}\nLabel:", "1") for text in ("the film was fine .", "the food was good .")]
    task = Task(name="t", description="", source="", labels=("0", "1"), pool=tuple(rows))
    queries = [row.query for row in content_free_rows(task)]
    # that both texts begin with "the" and end alike is chance, of which whole words stay
    assert queries == ["Text:the N/A .\nLabel:", "Text:the  .\nLabel:", "Text:the [MASK] .\nLabel:"]
    task = replace(task, pool=(*rows, Example("Text:that's it\nLabel:", "0")))
    assert [row.query for row in content_free_rows(task)] == [
        "Text:N/A\nLabel:", "Text:\nLabel:", "Text:[MASK]\nLabel:"
    ]  # fmt: skip
    free = replace(task, pool=(Example("is it?", "0"), Example("so what", "1")))
    assert [row.query for row in content_free_rows(free)] == ["N/A", "", "[MASK]"]


def test_the_likeliest_label_is_the_answer():
    rows = (
        Prediction("q1", "a", "x", 0.9, False, "b", 0.6, False, (0.4, 0.6)),
        Prediction("q2", "b", "b", 0.9, True, "b", 0.6, True, (0.4, 0.6)),
    )
    first, second = recalibrated(
        LabelEvaluation(rows, "token", ("a", "b")), array([[0.7, 0.3], [0.8, 0.2]])
    ).predictions
    assert first == Prediction("q1", "a", "a", 0.7, True, "a", 0.7, True, (0.7, 0.3))
    assert second == Prediction("q2", "b", "a", 0.8, False, "a", 0.8, False, (0.8, 0.2))
