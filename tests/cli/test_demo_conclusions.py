import numpy as np
import pytest
from study_records import changed, record

from ia2.cli.demo_conclusions import instruction_conclusion, labelled_conclusion
from ia2.reports.over_sets import OverSets

ROWS = 50


def method(name, right, *, tokens=20.0, asim=None, confidence=1.0):
    """Two sets of 50 rows of which the first ones were answered rightly."""
    correct = np.tile(np.arange(ROWS) < right, (2, 1))
    scores = {"prompt_tokens": tokens, "asim": asim}
    records = [changed(record(name, 0.5, seed=seed), metrics=scores) for seed in range(2)]
    return OverSets(tuple(records), correct, np.full(correct.shape, confidence))


@pytest.mark.parametrize(
    ("moved", "verdict"),
    [
        (49, "The adapter keeps that accuracy: 98.0 % (difference +0.0, 95 % CI +0.0 to +0.0)"),
        (48, "The adapter may lose some of that accuracy: 96.0 % (difference -2.0, 95 % CI -6.0 to +0.0)"),
        (25, "The adapter loses some of that accuracy: 50.0 % (difference -48.0"),
        (50, "The adapter keeps that accuracy: 100.0 % (difference +2.0, 95 % CI +0.0"),
    ],
)
def test_an_instruction_is_kept_or_lost_by_the_interval(moved, verdict):
    text = instruction_conclusion(
        {
            "zero-shot": method("zero-shot", 40),
            "context": method("context", 49, tokens=345.0),
            "ia2": method("ia2", moved, tokens=19.0),
        }
    )
    assert "accuracy is 80.0 %; with the instruction in every prompt it is 98.0 %." in text
    assert verdict in text
    # 1 - 19 / 345
    assert "19 tokens per query instead of 345 (94 % fewer)" in text


@pytest.mark.parametrize(
    ("aligned", "verdict"),
    [
        (50, "IA2→SFT is more accurate than SFT (difference +20.0"),
        (30, "SFT is more accurate than IA2→SFT (difference -20.0"),
        (40, "Neither is significantly more accurate (difference +0.0"),
    ],
)
def test_the_better_method_is_named_or_none(aligned, verdict):
    text = labelled_conclusion(
        {
            "icl": method("icl", 45, tokens=189.0),
            "sft": method("sft", 40, asim=0.5),
            "ia2-sft": method("ia2-sft", aligned, asim=0.875),
        }
    )
    assert verdict in text
    assert "(ICL) it is 90.0 %, at 189 tokens" in text
    assert "are more similar to in-context learning than SFT's (asim 0.88 against 0.50)" in text
    # the confidence is 1 everywhere, so that the ECE is the share that was wrong
    assert f"The ECE is {(50 - aligned) / 50:.3f} for IA2→SFT and 0.200 for SFT." in text
