import json

import pytest
from pytest import approx
from study_records import changed, record, write_study

from ia2.reports.over_sets import OverSets, methods_over_sets, table_over_sets

ANSWERS = {
    # whether each of four rows was right, and with which confidence, by method and set
    ("sft", 0): ([1, 1, 0, 1], [0.9, 0.8, 0.7, 0.6]),
    ("sft", 1): ([1, 0, 0, 1], [0.9, 0.8, 0.7, 0.6]),
    ("ia2-sft", 0): ([1, 1, 1, 1], [0.5, 0.5, 0.5, 0.5]),
    ("ia2-sft", 1): ([1, 1, 0, 1], [1.0, 1.0, 1.0, 1.0]),
}
SCORES = {
    ("sft", 0): {"prompt_tokens": 20.0, "asim": 0.5},
    ("sft", 1): {"prompt_tokens": 22.0, "asim": 0.7},
    ("ia2-sft", 0): {"prompt_tokens": 20.0, "asim": None},
    ("ia2-sft", 1): {"prompt_tokens": 22.0, "asim": None},
}


def written(folder, records, answers=ANSWERS):
    write_study(folder, records)
    for measured in records:
        correct, confidence = answers[measured.method, measured.seed]
        rows = [
            {"query": f"q{index}", "response": "1", "correct": bool(right), "confidence": share}
            for index, (right, share) in enumerate(zip(correct, confidence, strict=True))
        ]
        measured.rows(folder).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return records


@pytest.fixture
def measured(tmp_path):
    records = [
        changed(
            record(method, 0.5, seed=seed), metrics=SCORES[method, seed], seconds={"teacher": 1.0, "train": 10.0 + seed}
        )
        for method, seed in reversed(ANSWERS)
    ]
    return methods_over_sets(written(tmp_path / "study", records), tmp_path / "study")


def test_numbers_are_means_over_sets_worked_by_hand(measured):
    assert list(measured) == ["sft", "ia2-sft"]
    tuned, aligned = measured.values()
    assert tuned.accuracy == approx(5 / 8)
    assert aligned.accuracy == approx(7 / 8)
    # each row is alone in its bin, at a distance of |1 - 0.9|, |1 - 0.8|, |0 - 0.7| and |1 - 0.6| in the first set
    assert tuned.ece == approx(((0.1 + 0.2 + 0.7 + 0.4) / 4 + (0.1 + 0.8 + 0.7 + 0.4) / 4) / 2)
    # one bin in each set: |1 - 0.5| and |0.75 - 1|
    assert aligned.ece == approx((0.5 + 0.25) / 2)
    assert tuned.prompt_tokens == approx(21.0)
    assert tuned.asim == approx(0.6)
    assert aligned.asim is None


def test_a_difference_is_taken_row_by_row(measured):
    difference, (low, high) = measured["ia2-sft"].more_accurate_than(measured["sft"])
    # one row better in the first set, one in the second
    assert difference == approx(2 / 8)
    assert low == 0.0
    assert 0.25 < high <= 1.0


def test_the_table_has_a_row_a_method(measured):
    table = table_over_sets("two methods", list(measured.values()))
    assert table.headings == ["method", "accuracy %", "ECE", "asim", "tokens", "train s"]
    first, second = table.texts
    assert first[0] == "SFT"
    assert first[1].startswith("62.5 [")
    assert first[3:] == ["0.600", "21", "12"]
    assert second[0] == "IA2→SFT"
    assert second[3] == "–"
    low, high = (100 * end for end in measured["sft"].accuracy_interval)
    assert first[1] == f"62.5 [{low:.1f}, {high:.1f}]"


def test_what_no_method_has_is_no_column(tmp_path):
    records = written(tmp_path, [record("sft", 0.5, seed=seed) for seed in (0, 1)])
    records = [changed(each, metrics={"prompt_tokens": 20.0}) for each in records]
    table = table_over_sets("bare", list(methods_over_sets(records, tmp_path).values()))
    assert table.headings == ["method", "accuracy %", "ECE", "tokens"]


def test_sets_measured_on_other_rows_are_refused(tmp_path):
    records = written(tmp_path, [record("sft", 0.5, seed=seed) for seed in (0, 1)])
    path = records[1].rows(tmp_path)
    path.write_text(path.read_text().replace("q3", "other"))
    with pytest.raises(ValueError, match="on other rows"):
        OverSets.of(records, tmp_path)


def test_methods_of_other_sets_have_no_difference(tmp_path):
    records = written(tmp_path, [record("sft", 0.5, seed=0), record("ia2-sft", 0.5, seed=1)])
    tuned, aligned = methods_over_sets(records, tmp_path).values()
    with pytest.raises(ValueError, match="IA2→SFT and SFT were measured on other sets"):
        aligned.more_accurate_than(tuned)
