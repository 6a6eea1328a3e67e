import os
import pickle
from pathlib import Path

import pytest

from ia2.errors import ChangedFieldsError, FieldError, InputError, nothing_at, printable


def test_a_field_is_named_with_its_value_and_may_have_another_name():
    error = FieldError("learning_rate", -1.0, "this must be a positive number.")
    assert str(error) == "learning_rate -1: this must be a positive number."
    assert error.named("--lr") == "--lr -1: this must be a positive number."
    assert str(FieldError("stop", None, "leave it out.")) == "stop: leave it out."


def test_an_error_comes_whole_from_another_process():
    error = pickle.loads(pickle.dumps(FieldError("n", 1, "at least 2 are needed.")))
    assert (error.field, error.value, error.rule) == ("n", 1, "at least 2 are needed.")


def test_changed_fields_may_have_other_names():
    error = ChangedFieldsError(["rows", "ece"], "{a}: other settings ({fields}).")
    assert str(error) == "{a}: other settings (rows, ece)."
    assert error.named(["--limit"]) == "{a}: other settings (--limit)."


def test_what_moves_the_cursor_of_a_terminal_is_escaped():
    assert printable("a\r\n\x1b[2J\u202eé ½") == "a\\r\\n\\x1b[2J\\u202eé ½"
    assert str(InputError("rows.csv: \x1b[31mred\nand more")) == "rows.csv: \\x1b[31mred\nand more"


@pytest.mark.parametrize(
    ("path", "hub", "sentence"),
    [
        (
            "https://huggingface.co/a/b-1.5/tree/main",
            "model",
            "https://huggingface.co/a/b-1.5/tree/main: this is a URL. Use a/b-1.5.",
        ),
        ("https:/hf.co/datasets/a/b?x", "dataset", "https://hf.co/datasets/a/b?x: this is a URL. Use hf:a/b."),
        # of the other kind, so that its name would be refused as well
        ("https://hf.co/a/b", "dataset", "https://hf.co/a/b: this is a URL, and URLs are not downloaded."),
        (
            "https://hf.co/datasets/a/b",
            "model",
            "https://hf.co/datasets/a/b: this is a URL, and URLs are not downloaded.",
        ),
        ("s3:/bucket/rows.csv", None, "s3://bucket/rows.csv: this is a URL, and URLs are not downloaded."),
        ("rows.csv", "dataset", "rows.csv: no such file."),
        ("pipe.csv", None, "pipe.csv: this is not a regular file but, for example, a pipe."),
        ("loop.csv", None, "loop.csv: this link is broken."),
    ],
)
def test_why_nothing_can_be_read_at_a_path_is_said(tmp_path, monkeypatch, path, hub, sentence):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.csv")
    Path("loop.csv").symlink_to("loop.csv")
    assert str(nothing_at(path, hub=hub)).startswith(sentence)
