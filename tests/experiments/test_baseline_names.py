from dataclasses import replace

import pytest

from ia2.errors import FieldError
from ia2.experiments.baseline_names import BASELINES, LOGISTIC, RECALIBRATED, check_labelled
from ia2.reports.figures.reliability import COLOURS
from ia2.reports.method_names import METHOD_NAMES
from ia2.training.methods import WITHOUT_TRAINING


@pytest.mark.parametrize("name", [*RECALIBRATED, *LOGISTIC])
def test_baselines_that_compare_labels_are_refused_where_responses_are_texts(toy_task, name):
    texts = replace(toy_task, labels=(), name="sums")
    with pytest.raises(FieldError, match=f"methods {name}: this compares labels, and the responses of sums are free"):
        check_labelled(["icl", name], [toy_task, texts])
    check_labelled(["icl", name], [toy_task])
    check_labelled(["zero-shot", "icl"], [texts])


def test_every_baseline_has_a_name_and_a_colour_in_reports_and_no_method_can_have_its_own():
    for name in BASELINES:
        assert name in METHOD_NAMES
        assert name in COLOURS
        assert name in WITHOUT_TRAINING
