import pytest
from pydantic import ValidationError

from ia2.record_metrics import Metrics

CLASSES = [
    {"label": "a", "precision": 1.0, "recall": 0.5, "f1": 2 / 3, "n": 2},
    {"label": "b", "precision": 0.5, "recall": 1.0, "f1": 2 / 3, "n": 1},
]
MEASURED = {"n": 3, "macro_f1": 2 / 3, "nll": 0.7, "brier": 1.5, "classes": CLASSES, "confusion": [[1, 1], [0, 1]]}


def test_scores_by_class_are_read_as_they_were_written():
    metrics = Metrics.model_validate(MEASURED | {"nll_interval": [0.5, 0.9]})
    assert metrics.classes[0].recall == 0.5
    assert metrics.get("nll_interval") == (0.5, 0.9)
    assert metrics.model_dump(exclude_unset=True) == MEASURED | {"nll_interval": (0.5, 0.9)}


def test_records_from_before_there_were_such_scores_have_none():
    metrics = Metrics.model_validate({"n": 3, "accuracy": 0.5, "ece": 0.1})
    assert [metrics.get(name) for name in ("macro_f1", "balanced_accuracy", "nll", "brier", "classes")] == [None] * 5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("macro_f1", 1.1),
        ("balanced_accuracy", -0.1),
        ("nll", -0.1),
        ("nll", float("inf")),
        ("brier", 2.1),
        ("classes", [CLASSES[0] | {"recall": 1.5}]),
        ("classes", [CLASSES[0] | {"n": -1}]),
        ("confusion", [[1, -1], [0, 1]]),
    ],
)
def test_what_cannot_be_is_refused(field, value):
    with pytest.raises(ValidationError, match=field):
        Metrics.model_validate(MEASURED | {field: value})
