import json
import re
import shutil

import numpy as np
import pytest
from study_records import changed, record, write_study

from ia2.evaluation.metrics import bootstrap_interval
from ia2.experiments.plan_file import load_experiment_of
from ia2.records import Record
from ia2.reports.conclusion import conclusion, conclusion_of_study


def measured(folder, method, correct):
    """A record of a method that was right on these rows, and its predictions beside it."""
    record = {
        "method": method,
        "model": {"id": "tiny", "revision": None, "sha256": None, "dtype": "float32", "device": "cpu"},
        "task": {"train": "rows", "eval": "rows", "source": "file", "labels": [], "answer": None},
        "n": 4,
        "seed": 0,
        "lr": None,
        "adapter": None,
        "metrics": {
            "n": len(correct), "accuracy": float(np.mean(correct)), "accuracy_interval": [0.25, 1.0], "ece": None,
            "asim": None,
        },
        "seconds": {},
        "stages": [],
        "options": {},
        "notes": [],
        "versions": {},
        "predictions": f"../{method}.jsonl",
    }  # fmt: skip
    (folder / "records").mkdir(exist_ok=True)
    (folder / "records" / f"{method}.json").write_text(json.dumps(record))
    (folder / f"{method}.jsonl").write_text("".join(json.dumps({"correct": right}) + "\n" for right in correct))
    return Record.read(folder / "records" / f"{method}.json", folder)


@pytest.mark.parametrize(
    ("ours", "sentence"),
    [
        ([1] * 20, r"IA2→SFT \(100\.0 %\) is more accurate than SFT \(50\.0 %; difference \+50\.0, 95 % CI \+[1-9]"),
        (
            [0] * 20,
            r"IA2→SFT \(0\.0 %\) is less accurate than SFT \(50\.0 %; difference -50\.0, 95 % CI -\d+\.\d to -[1-9]",
        ),
        (
            [1, 0] * 9 + [1, 1],
            r"IA2→SFT \(55\.0 %\) is not significantly more accurate than SFT .*\+5\.0, 95 % CI \+0\.0 to",
        ),
        ([0, 1] * 10, r"IA2→SFT \(50\.0 %\) is not more accurate than SFT \(50\.0 %; difference \+0\.0, 95 % CI -"),
    ],
)
def test_the_verdict_follows_the_interval_of_the_paired_difference(tmp_path, ours, sentence):
    theirs = [1, 0] * 10
    records = [
        measured(tmp_path, method, np.array(correct, dtype=bool).tolist())
        for method, correct in (("zero-shot", [0] * 19 + [1]), ("sft", theirs), ("ia2-sft", ours))
    ]
    text = conclusion(records, tmp_path)
    differences = np.array(ours) - np.array(theirs)
    low, high = (100 * end for end in bootstrap_interval(np.mean, differences))
    assert f"95 % CI {low:+.1f} to {high:+.1f}, 20 rows)." in text
    assert re.match(sentence, text)


def test_one_alone_is_said_with_its_interval(tmp_path):
    record = measured(tmp_path, "ia2", [True, False, True, True])
    assert conclusion([record], tmp_path) == "IA2 has an accuracy of 75.0 % on 4 rows (95 % CI 25.0 to 100.0)."


def test_records_of_different_rows_are_not_compared(tmp_path):
    records = [measured(tmp_path, "sft", [True, False]), measured(tmp_path, "ia2", [True])]
    with pytest.raises(ValueError, match="1 and 2 rows can't be compared"):
        conclusion(records, tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({}, "SFT (100.0 %) is more accurate than ICL (0.0 %; difference +100.0"),
        ({"measure": "all"}, None),
        ({"n": [4, 8]}, None),
        ({"tasks": [{"train": "sst2", "evaluate": ["sst2", "finsen"]}]}, None),
        ({"lost": "predictions"}, None),
        ({"lost": "records"}, None),
    ],
)
def test_a_folder_of_one_unit_comes_to_the_same_sentence_and_others_to_none(tmp_path, changes, sentence):
    settings = {
        "tasks": [{"train": "sst2", "evaluate": ["sst2"]}],
        "n": [4],
        "sets": 1,
        "select": "dev",
        "measure": "chosen",
    } | changes
    lost = settings.pop("lost", None)
    records = [
        changed(record(method, value), metrics={"n": 1, "accuracy_interval": [0.0, 1.0]})
        for method, value in (("sft", 1.0), ("icl", 0.0))
    ]
    folder = write_study(tmp_path, records, methods=["icl", "sft"], **settings)
    (rows,) = [one.rows(folder) for one in records if one.method == "icl"]
    rows.write_text('{"correct": false}\n')
    if lost is not None:
        shutil.rmtree(folder / lost)
    said = conclusion_of_study(load_experiment_of(folder), folder)
    if sentence is None:
        assert said is None
    else:
        assert said.startswith(sentence)
