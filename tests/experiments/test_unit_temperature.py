from dataclasses import replace

import numpy as np
import pytest
from small_study import study

from ia2.evaluation.labels import LabelEvaluation, Prediction
from ia2.experiments.plan import units
from ia2.experiments.unit_evaluator import TimedEvaluation
from ia2.experiments.unit_rows import unit_rows
from ia2.experiments.unit_temperature import UnitTemperature


@pytest.fixture
def rows(tiny_model):
    experiment = study(sets=1)
    return unit_rows(experiment, units(experiment)[0], tiny_model)


def with_dev(rows, *labels):
    """Rows whose dev rows have these labels, by number."""
    task = rows.few_shot_set.task
    dev = tuple(replace(rows.few_shot_set.train[0], response=task.labels[label]) for label in labels)
    return replace(rows, few_shot_set=replace(rows.few_shot_set, dev=dev))


def answered(rows, probabilities):
    labels = rows.few_shot_set.task.labels
    predictions = tuple(
        Prediction(row.query, row.response, "", 0.0, False, "", 0.0, False, (1 - share, share))
        for row, share in zip(rows.few_shot_set.dev, probabilities, strict=True)
    )
    return LabelEvaluation(predictions, "whole", labels)


def test_each_method_has_the_temperature_of_its_own_answers_to_the_dev_rows(rows):
    rows = with_dev(rows, 1, 1, 1, 0)
    sure, unsure = answered(rows, [0.99] * 4), answered(rows, [0.6] * 4)
    first, second = UnitTemperature(rows).of_all(lambda: [TimedEvaluation(sure, 0.5), TimedEvaluation(unsure, 0.25)], 2)
    # three of four are right: log-odds of ln(3)
    assert first.temperature == pytest.approx(np.log(99) / np.log(3), rel=1e-4)
    assert second.temperature == pytest.approx(np.log(1.5) / np.log(3), rel=1e-4)
    assert (first.seconds, second.seconds) == ({"temperature": 0.5}, {"temperature": 0.25})
    assert UnitTemperature(rows).note is None


@pytest.mark.parametrize(("labels", "why"), [((), "there are no dev rows"), ((1, 1), "the 2 dev rows have one label")])
def test_dev_rows_of_one_label_are_not_asked_and_it_is_said(rows, labels, why):
    temperature = UnitTemperature(with_dev(rows, *labels))
    assert temperature.of_all(lambda: pytest.fail("the dev rows were asked"), 2) == [(None, {})] * 2
    assert temperature.note == f"reviews: no temperature is fitted, as {why} (at least two labels are needed)."


def test_free_text_has_no_temperature_and_no_note(rows):
    text = replace(rows.few_shot_set.task, labels=())
    rows = replace(rows, few_shot_set=replace(rows.few_shot_set, task=text))
    assert UnitTemperature(rows).of_all(lambda: pytest.fail("the dev rows were asked"), 1) == [(None, {})]
    assert UnitTemperature(rows).note is None
