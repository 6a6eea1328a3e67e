import pytest

from ia2.errors import InputError
from ia2.tasks.json_lines import json_lines


def test_every_object_is_read_with_its_line(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('\ufeff{"a": "one\u2028line"}\n\n{"a": 2}', encoding="utf-8")
    assert list(json_lines(path)) == [(f"{path}, line 1", {"a": "one\u2028line"}), (f"{path}, line 3", {"a": 2})]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"a": 1}\n{"a": "cu', r"a.jsonl, line 2: this is not a JSON object .*is the file truncated"),
        ('{"a": 1}\n[1]\n', r"a.jsonl, line 2: this is not a JSON object\."),
    ],
)
def test_what_is_no_object_is_named_with_its_line(tmp_path, content, said):
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(InputError, match=said):
        list(json_lines(path))


def test_a_file_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes('{"a": 1}\n{"a": "é"}\n'.encode("latin-1"))
    with pytest.raises(InputError, match=r"a.jsonl, line 2: this is not UTF-8 text \(byte 7\). Save it as UTF-8."):
        list(json_lines(path))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"b.jsonl: no such file"):
        list(json_lines(tmp_path / "b.jsonl"))
