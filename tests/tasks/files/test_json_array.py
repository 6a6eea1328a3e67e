import json

import pytest
from table_files import check_refusal

from ia2.tasks.files import load_file
from ia2.tasks.files.json_array import read_json

ROWS = [{"text": "a", "label": "x"}, {"text": "b", "label": "y", "more": [1]}]


@pytest.mark.parametrize(
    "value", [ROWS, {"data": ROWS}, {"version": "1.0", "rows": ROWS, "tags": ["a"], "empty": [], "about": {"by": "me"}}]
)
def test_an_array_of_objects_is_read_alone_and_as_the_only_one_of_an_object(tmp_path, value):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(value, indent=1))
    task = load_file(path)
    assert [(row.query, row.response) for row in task.pool] == [("Text:a\nLabel:", " x"), ("Text:b\nLabel:", " y")]
    wrapped = [note for note in task.notes if "rows are those under" in note]
    key = next((key for key in ("data", "rows") if key in value), None)
    assert wrapped == ([f"rows.json: the rows are those under {key!r}."] if key else [])
    table = read_json(path, path.read_text())
    assert table.columns == ("text", "label", "more")
    assert table.rows[1] == (f"{path}, row 2", ROWS[1])


def test_json_lines_under_this_ending_are_read_and_said(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    task = load_file(path)
    assert len(task.pool) == 2
    assert task.notes[0] == "rows.json: this holds JSON lines."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b'[{"text": "a"}, {"te', "line 1: this is not valid JSON .*; is the file truncated"),
        (b'{"train": [{"text": "a"}], "test": [{"text": "b"}]}', r"several arrays of rows \(train, test\). Save one"),
        (
            b'{"text": {"0": "a"}, "label": {"0": "x"}}',
            "this holds an object without an array of rows. Save it as an array",
        ),
        (b'"text"', "this holds no array of rows. Save it as an array of objects"),
        (b'[{"text": "a", "label": "x"}, 3]', "row 2: this is not a JSON object. Save the file as an array of objects"),
        (b"[]", "no rows"),
        (b"[" * 100_000, "this JSON can't be read"),
        (b"1" * 5000, "this JSON can't be read"),
    ],
)
def test_what_holds_no_array_of_rows_is_refused(tmp_path, content, said):
    check_refusal(tmp_path, "rows.json", content, said)


def test_a_line_break_in_a_key_breaks_no_sentence(tmp_path):
    content = json.dumps({"a\nb": ROWS, "c": ROWS}).encode()
    check_refusal(tmp_path, "rows.json", content, r"several arrays of rows \(a\\nb, c\)")
