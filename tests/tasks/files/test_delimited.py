import csv

import pytest
from table_files import check_refusal, write

from ia2.errors import InputError
from ia2.tasks.files import load_file
from ia2.tasks.task import Example


def test_a_cell_may_be_of_any_length(tmp_path):
    texts = [("long " * 100_000).strip(), "x" * 1_000_000]
    limit = csv.field_size_limit()
    assert limit < 500_000
    task = load_file(write(tmp_path / "rows.csv", [(text, f"{index}") for index, text in enumerate(texts)]))
    assert [example.query for example in task.pool] == [f"Text:{text}\nLabel:" for text in texts]
    assert csv.field_size_limit() == limit  # Python's own, for whoever else reads


def test_spreadsheet_files_with_a_mark_and_semicolons_are_read(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_bytes("\ufefftext;label\na, b;x\nc;y\n".encode())
    assert load_file(path).pool == (Example("Text:a, b\nLabel:", " x"), Example("Text:c\nLabel:", " y"))


def test_blank_lines_before_the_header_are_passed_over(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("\n\ntext;label\na;x\nb;y\n")
    assert [example.response for example in load_file(path).pool] == [" x", " y"]


def test_a_column_name_that_comes_twice_is_refused(tmp_path):
    path = write(tmp_path / "rows.csv", [("a", "b", "x")], ("text", "text", "label"))
    with pytest.raises(InputError, match="two columns are called 'text'. Give each its own name"):
        load_file(path, text="text")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", b"text,label\na,x\nb\n", "line 3: this row has 1 values, but the header has 2 columns"),
        ("rows.csv", b'text,label\n"a,x\n', "this is not valid CSV"),
    ],
)
def test_what_is_no_proper_csv_is_refused_by_line(tmp_path, name, content, said):
    check_refusal(tmp_path, name, content, said)
