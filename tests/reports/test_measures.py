from typing import get_args

from ia2.experiments.questions import Measured
from ia2.record_metrics import Metrics
from ia2.reports.measures import MEASURES, Measure


def test_what_a_study_can_ask_of_is_a_measure_of_reports():
    assert {*MEASURES, "overlap"} == set(get_args(Measured))


def test_every_measure_is_a_metric_of_records():
    assert MEASURES.keys() <= Metrics.model_fields.keys()


def test_more_accuracy_and_less_error_are_better():
    assert MEASURES["accuracy"] == Measure("accuracy, points", 100, 1)
    assert {name for name, measure in MEASURES.items() if measure.better == 1} == {
        *("accuracy", "macro_f1", "balanced_accuracy", "asim")
    }
