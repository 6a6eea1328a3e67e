import pytest
from small_study import study

from ia2.experiments.questions import bounds_of, pair_of
from ia2.experiments.schema import Experiment

CLAIM = {"claim": "accuracy", "methods": [["ia2-sft", "sft"]]}


def test_a_pair_is_compared_and_with_bounds_asked_whether_it_is_equal():
    asked = {"methods": ["ia2-sft", "ia2"], "within": {"accuracy": 2, "ece": 0.02}}
    plain, bounded = study(compare=[["ia2-sft", "sft"], asked]).compare
    assert (pair_of(plain), bounds_of(plain)) == (("ia2-sft", "sft"), {})
    assert (pair_of(bounded), bounds_of(bounded)) == (("ia2-sft", "ia2"), {"accuracy": 2.0, "ece": 0.02})


def test_questions_survive_the_plan_and_change_no_record():
    asked = study(
        claims=[{**CLAIM, "higher": ["accuracy"]}], compare=[{"methods": ["sft", "ia2"], "within": {"ece": 1}}]
    )
    assert Experiment.model_validate(asked.model_dump(mode="json")) == asked
    assert asked.settings == study().settings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "accuracy: say either in which measures"),
        ({"higher": ["accuracy"], "within": {"accuracy": 2}}, "accuracy: say either in which measures"),
        ({"higher": ["ece"], "lower": ["ece"]}, "a measure is named twice"),
        # Holm's correction would count it twice
        ({"methods": [["sft", "ia2"], ["sft", "ia2"]], "higher": ["ece"]}, "a pair of methods is named twice"),
        ({"methods": [["sft", "ia2"], ["ia2", "sft"]], "within": {"ece": 1}}, "a pair of methods is named twice"),
        ({"higher": ["overlap"]}, "overlap is of two methods together; say within"),
        ({"higher": ["speed"]}, "Input should be 'accuracy', 'ece'"),
        ({"within": {"ece": 0}}, "greater than 0"),
    ],
)
def test_a_claim_says_one_thing_of_each_measure(changes, message):
    with pytest.raises(ValueError, match=message):
        study(claims=[CLAIM | changes])
