from pathlib import Path

import pytest
from table_files import check_refusal, write

from ia2.errors import InputError
from ia2.tasks.files import load_file
from ia2.tasks.files.header import table_under

HEADERLESS = [
    b"a fine film,5\na dull one,1\na great one,5\n",
    b"a fine film,good\na dull one,bad\na great one,good\n",
    b"1,a fine film,good\n2,a dull one,bad\n",
    b"yes,yes\na dull one,no\na great one,yes\n",
    b"my review,good\na dull one,bad\na great one,good\n",
]


@pytest.mark.parametrize("content", HEADERLESS)
def test_a_first_line_that_is_a_row_is_told_and_the_advice_works(tmp_path, content):
    check_refusal(tmp_path, "rows.csv", content, "there is no header: the first line looks like a row .* above line 1")
    columns = b"number,text,label\n" if content.startswith(b"1") else b"text,label\n"
    (tmp_path / "rows.csv").write_bytes(columns + content)
    assert len(load_file(tmp_path / "rows.csv").pool) == len(content.splitlines())


def test_it_is_told_in_workbooks_and_where_a_column_that_is_not_there_is_named(tmp_path):
    rows = [("a fine film", 5), ("a dull one", 1)]
    path = write(tmp_path / "rows.xlsx", rows[1:], rows[0])
    for named in ({}, {"text": "text", "label": "label"}):
        with pytest.raises(InputError, match=r"looks like a row \(a fine film, 5\). .* text,label, above row 1.$"):
            load_file(path, **named)


def test_a_header_that_is_named_or_usual_is_taken_whatever_it_looks_like(tmp_path):
    path = write(tmp_path / "rows.csv", [("a", "x"), ("b", "y")], ("2023", "2024"))
    assert len(load_file(path, text="2023").pool) == 2
    path = write(tmp_path / "usual.csv", [("a", "label"), ("b", "y")], ("text", "label"))
    assert load_file(path).labels == (" label", " y")


def test_a_first_line_that_may_be_names_is_left_to_the_person(tmp_path):
    path = write(tmp_path / "rows.csv", [("a dull one", "bad")], ("a fine film", "good"))
    advice = "Name it with --text COLUMN; if the first line is a row, put a header such as text,label above it"
    with pytest.raises(InputError, match=advice):
        load_file(path)


def test_names_lose_spaces_and_blank_ones_are_numbered():
    table = table_under(Path("rows.csv"), ("line 1", [" text ", None, ""]), [("line 2", ["a", "b", "c"])])
    assert table.rows == (("line 2", {"text": "a", "column 2": "b", "column 3": "c"}),)
