from pathlib import Path

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_files import write

from ia2.errors import InputError
from ia2.tasks.files import load_file
from ia2.tasks.files.labels import labels_of
from ia2.tasks.task import Example


def test_labels_that_differ_in_case_or_spaces_alone_are_named_and_kept(tmp_path):
    rows = [("a", "Positive"), ("b", "positive"), ("c", "not sure"), ("d", "notsure"), ("e", "negative")]
    task = load_file(write(tmp_path / "rows.csv", rows))
    assert len(task.labels) == 5
    assert [note for note in task.notes if "different labels" in note] == [
        "rows.csv: 'Positive' and 'positive' are different labels.",
        "rows.csv: 'not sure' and 'notsure' are different labels.",
    ]


@given(st.sets(st.sampled_from("abcdef"), min_size=2))
def test_labels_that_differ_otherwise_are_not_named(labels):
    notes = []
    rows = [Example(label, f" {label}") for label in labels]
    assert labels_of(Path("rows.csv"), rows, "labelled", None, notes) == tuple(sorted(f" {label}" for label in labels))
    assert notes == []


def test_one_label_is_refused_and_the_advice_works(tmp_path):
    path = write(tmp_path / "rows.csv", [("a", "x"), ("b", "x")])
    with pytest.raises(
        InputError, match="every row has the label 'x'; use at least two labels, or the response kind text"
    ):
        load_file(path)
    assert load_file(path, response_kind="text").response_kind == "text"


@pytest.mark.parametrize("names", [["good", "bad"], ["a", "b", "c", "d"]])
def test_the_codes_of_pandas_categories_have_minus_one_for_a_missing_one(tmp_path, names):
    frame = pandas.DataFrame({"text": [f"text {at}" for at in range(2 * len(names) + 1)]})
    frame["label"] = pandas.Series([*names, None, *names], dtype="category").cat.codes
    assert (frame["label"] == -1).sum() == 1
    frame.to_parquet(tmp_path / "rows.parquet")
    task = load_file(tmp_path / "rows.parquet")
    assert set(task.labels) == {f" {code}" for code in range(len(names))}
    assert f"Text:text {len(names)}\nLabel:" not in {row.query for row in task.pool}
    assert any("'-1' in 'label' (1 rows) is read as a missing value" in note for note in task.notes)
    frame.to_csv(tmp_path / "rows.csv", index=False)
    assert (" -1" in load_file(tmp_path / "rows.csv").labels) == (len(names) == 2)


def test_a_category_itself_keeps_its_names_and_lacks_what_is_missing(tmp_path):
    frame = pandas.DataFrame({"text": list("abc"), "label": pandas.Series(["x", None, "y"], dtype="category")})
    frame.to_parquet(tmp_path / "rows.parquet")
    assert [(row.query[5], row.response) for row in load_file(tmp_path / "rows.parquet").pool] == [
        ("a", " x"),
        ("c", " y"),
    ]


def test_minus_one_may_be_a_sentiment_which_is_asked(tmp_path):
    task = load_file(write(tmp_path / "rows.jsonl", [("a", -1), ("b", 0), ("c", 1)]))
    assert task.labels == (" -1", " 0", " 1")
    said = (
        "rows.jsonl: '-1' in 'label' is read as a label; leave it empty if it is pandas' code for a missing category."
    )
    assert said in task.notes
    frame = pandas.DataFrame({"text": list("abc"), "label": [-1, 0, 1]})
    frame.to_parquet(tmp_path / "rows.parquet")
    assert len(load_file(tmp_path / "rows.parquet").labels) == 3


def test_numbers_that_are_no_codes_are_labels_and_nothing_is_said(tmp_path):
    for labels in ([-1, 1, 2], [-2, -1, 0, 1], [0, 1, 2], [-1, 0]):
        task = load_file(write(tmp_path / "rows.jsonl", [(f"t{at}", label) for at, label in enumerate(labels)]))
        assert set(task.labels) == {f" {label}" for label in labels}
        assert not any("-1" in note for note in task.notes)
