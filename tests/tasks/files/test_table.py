import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from table_files import write

from ia2.errors import InputError
from ia2.tasks.files import load_file
from ia2.tasks.files.table import cell_of, cell_text, leaf_columns


def test_values_that_are_no_strings_become_the_words_people_write(tmp_path):
    rows = [("a", True), ("b", False), ("c", 3), ("d", 3.0), ("e", 0.5), (12, "x")]
    task = load_file(write(tmp_path / "rows.jsonl", rows))
    assert [example.response for example in task.pool] == [" true", " false", " 3", " 3", " 0.5", " x"]
    assert task.pool[-1].query == "Text:12\nLabel:"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (float("nan"), ""), (True, "true"), (1e20, "100000000000000000000"), (-0.0, "0"), (" a\n", "a")],
)
def test_a_cell_as_text(value, text):
    assert cell_text(value, "rows.csv, line 2", "text") == text


def test_a_value_that_is_no_plain_one_is_refused_by_its_row():
    with pytest.raises(InputError, match="^rows.parquet, row 2: 'label' holds a Decimal; texts and labels must be"):
        cell_text(Decimal(1), "rows.parquet, row 2", "label")


def test_a_nested_column_is_named_by_its_path_and_the_advice_for_one_works(tmp_path):
    path = tmp_path / "rows.jsonl"
    rows = [{"data": {"at": None, "body": text, "by": {"name": "x"}}, "label": text, "mark": 1} for text in "ab"]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(
        InputError, match="no column looks like the text. Columns: data.at, data.body, data.by.name, label, mark"
    ):
        load_file(path, label="label")
    with pytest.raises(InputError, match="'data' holds a dict.* Name what is in it, such as data.body.$") as raised:
        load_file(path, text="data")
    advised = str(raised.value).removesuffix(".").rpartition(" ")[2]
    assert [example.query for example in load_file(path, text=advised).pool] == ["Text:a\nLabel:", "Text:b\nLabel:"]


@given(st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1)))
def test_every_leaf_leads_to_its_value(value):
    row = {"row": value}

    def values(inner):
        return [leaf for part in inner.values() for leaf in values(part)] if isinstance(inner, dict) else [inner]

    assert [cell_of(row, leaf) for leaf in leaf_columns(row)] == values(row)


@pytest.mark.parametrize("column", ["text", "te\nxt"])
def test_a_line_break_in_a_name_breaks_no_sentence(column):
    with pytest.raises(InputError, match=r"Name what is in it, such as .*\\nb\.$") as raised:
        cell_text({"a\nb": 1}, "rows.json, row 1", column)
    assert "\n" not in str(raised.value)
