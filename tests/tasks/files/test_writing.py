import json

import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ia2.errors import InputError
from ia2.tasks.files.registry import read_table
from ia2.tasks.files.writing import as_text, check_ending, check_rows, without_formulas, write_rows

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx"])
@settings(deadline=None)  # pyarrow is imported when it is first used
@given(texts=st.lists(TEXT, min_size=1))
def test_what_is_written_is_read_again(tmp_path_factory, ending, texts):
    path = tmp_path_factory.mktemp("written") / f"rows{ending}"
    rows = [{"text": text, "prediction": f"label, {number}"} for number, text in enumerate(texts)]
    write_rows(path, ["text", "prediction"], rows)
    table = read_table(path)
    assert table.columns == ("text", "prediction")
    assert [dict(row) for _, row in table.rows] == rows


def test_numbers_and_nothing_keep_their_types_where_the_format_has_types(tmp_path):
    rows = [{"text": "a", "confidence": 0.5}, {"text": "", "confidence": None}]
    write_rows(tmp_path / "rows.parquet", ["text", "confidence"], rows)
    assert pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist() == rows
    write_rows(tmp_path / "rows.jsonl", ["text", "confidence"], rows)
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()] == rows
    assert as_text(".tsv", ["text", "confidence"], rows) == "text\tconfidence\na\t0.5\n\t\n"


def test_an_array_of_json_holds_the_rows_as_they_are(tmp_path):
    rows = [{"text": "ü\n", "by": {"name": "b"}}, {"text": None, "prediction": "x"}]
    write_rows(tmp_path / "rows.json", ["text", "by", "prediction"], rows)
    assert json.loads((tmp_path / "rows.json").read_text(encoding="utf-8")) == rows
    write_rows(tmp_path / "none.json", ["text"], [])
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_rows_that_can_be_written_are_checked_without_a_trace(tmp_path):
    for ending in (".csv", ".json", ".parquet", ".xlsx"):
        check_rows(tmp_path / f"rows{ending}", ["x"], [{"x": "a"}])
    assert list(tmp_path.iterdir()) == []


def test_what_can_not_be_written_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(InputError, match=r"rows\.txt: can't write '\.txt' files\. Use one of \.csv"):
        check_ending(tmp_path / "rows.txt")
    with pytest.raises(InputError, match="different types .*Write .jsonl instead"):
        write_rows(tmp_path / "rows.parquet", ["x"], [{"x": "a"}, {"x": {"b": 1}}])
    with pytest.raises(InputError, match=r"rows: the suffix must name the format\. Use one of \.csv, .*\.xlsx\.$"):
        check_rows(tmp_path / "rows", ["x"], [{"x": "a"}])
    with pytest.raises(InputError, match="different types .*Write .jsonl instead"):
        check_rows(tmp_path / "rows.parquet", ["x"], [{"x": "a"}, {"x": {"b": 1}}])
    with pytest.raises(InputError, match="can't be printed as text"):
        as_text(".parquet", ["x"], [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_what_a_model_wrote_never_begins_like_a_formula_where_cells_have_no_types(ending):
    # OWASP's list of first characters, and the numbers among them, which are none
    running = ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "\tx", "\rx", "-", "-5 apples", "+1e9x", "-5\n=1"]
    harmless = ["", "a=b", "-5", "+0.5", "'=1", "7", None]
    rows = [{"text": text, "prediction": text} for text in running + harmless]
    written = without_formulas(ending, rows, "prediction")
    assert [row["prediction"] for row in written] == [f"'{text}" for text in running] + harmless
    assert [row["text"] for row in written] == running + harmless


@pytest.mark.parametrize("ending", [".json", ".jsonl", ".parquet", ".xlsx"])
def test_formats_whose_cells_have_types_keep_what_a_model_wrote(ending):
    assert without_formulas(ending, [{"prediction": "=1+1"}], "prediction") == [{"prediction": "=1+1"}]
