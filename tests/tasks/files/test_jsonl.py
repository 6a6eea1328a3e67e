import pytest
from table_files import check_refusal

from ia2.tasks.files.jsonl import read_json_lines


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.jsonl", b'{"text": "a", "label": "x"}\n{"text": "b", "la', "line 2: this is not a JSON object"),
        ("rows.jsonl", b"[1, 2]\n", "line 1: this is not a JSON object"),
        ("rows.jsonl", b'{"text": ' + b"1" * 5000 + b"}", "line 1: this JSON object can't be read"),
        ("rows.jsonl", b'{"text": ["a"], "label": "x"}\n', "line 1: 'text' holds a list"),
    ],
)
def test_what_is_no_json_object_is_refused_by_line(tmp_path, name, content, said):
    check_refusal(tmp_path, name, content, said)


def test_a_key_that_only_some_rows_have_is_a_column_too(tmp_path):
    path = tmp_path / "rows.jsonl"
    table = read_json_lines(path, '{"text": "a"}\n\n{"label": 1}\n')
    assert table.columns == ("text", "label")
    assert table.rows == ((f"{path}, line 1", {"text": "a"}), (f"{path}, line 3", {"label": 1}))
