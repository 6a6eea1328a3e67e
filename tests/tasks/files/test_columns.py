from pathlib import Path

import pytest
from table_files import write

from ia2.errors import InputError
from ia2.tasks.files import load_file
from ia2.tasks.files.columns import find_column
from ia2.tasks.files.table import Table
from ia2.tasks.task import Example


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (("id", "Sentence", "category"), ("Sentence", "category")),
        (("text", "verdict"), ("text", "verdict")),
        (("title", "label"), ("title", "label")),
    ],
)
def test_columns_are_guessed_where_only_one_can_be_meant_and_it_is_said(tmp_path, columns, chosen):
    rows = [tuple(f"{column}{row}" for column in columns) for row in range(4)]
    task = load_file(write(tmp_path / "rows.csv", rows, columns))
    assert task.pool[0] == Example(f"Text:{chosen[0]}0\nLabel:", f" {chosen[1]}0")
    assert task.notes == (
        f"rows.csv: {chosen[0]!r} is used as the text.",
        f"rows.csv: {chosen[1]!r} is used as the label.",
    )


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (
            ("id", "text", "note"),
            "no column looks like the label. Columns: id, text, note. Name it with --label COLUMN.",
        ),
        (("a", "b"), "no column looks like the text. Columns: a, b. Name it with --text COLUMN."),
        (("text", "label", "category"), r"more than one column looks \(label, category\) like the label"),
    ],
)
def test_columns_that_cannot_be_guessed_are_asked_for(tmp_path, columns, said):
    with pytest.raises(InputError, match=said):
        load_file(write(tmp_path / "rows.csv", [tuple("xyz"[: len(columns)])], columns))


def test_the_other_of_two_columns_is_the_one_that_was_not_named(tmp_path):
    path = write(tmp_path / "rows.csv", [("gut", "x"), ("schlecht", "y")], ("Kommentar", "Bewertung"))
    for named in ({"text": "Kommentar"}, {"label": "Bewertung"}):
        assert load_file(path, **named).pool[0] == Example("Text:gut\nLabel:", " x")


def test_named_columns_are_taken_and_must_be_there(tmp_path):
    path = write(tmp_path / "rows.csv", [("q", "one", "x"), ("r", "two", "y")], ("text", "other", "mark"))
    assert load_file(path, text="other", label="mark").pool[0] == Example("Text:one\nLabel:", " x")
    with pytest.raises(InputError, match="no column is called 'grade'. Columns: text, other, mark"):
        load_file(path, label="grade")
    with pytest.raises(InputError, match="can't be both"):
        load_file(path, text="mark", label="mark")


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (("Ticket ID", "Ticket text", "Category"), ("Ticket text", "Category")),
        (("ticketText", "TOPIC_NAME", "created"), ("ticketText", "TOPIC_NAME")),
        (("id", "Customer Comments", "label text"), ("Customer Comments", None)),
        (("text", "label", "label_text"), ("text", "label")),
        (("text category", "body of it"), ("body of it", "text category")),
        (("review", "Review text", "class"), ("review", "class")),
    ],
)
def test_a_name_that_contains_a_usual_word_counts_where_it_is_the_only_one(tmp_path, columns, chosen):
    path = write(tmp_path / "rows.csv", [tuple(f"{column}{row}" for column in columns) for row in range(4)], columns)
    if None in chosen:
        with pytest.raises(InputError, match="more than one column looks"):
            load_file(path)
    else:
        assert load_file(path).pool[0] == Example(f"Text:{chosen[0]}0\nLabel:", f" {chosen[1]}0")


@pytest.mark.parametrize("role", ["text", "label"])
@pytest.mark.parametrize("columns", [("id", "stars", "note"), ("text", "review", "label", "category", "topic")])
def test_a_column_that_is_asked_for_is_taken_when_it_is_named(tmp_path, role, columns):
    path = write(tmp_path / "rows.csv", [tuple(f"{at}{column}" for column in columns) for at in "ab"], columns)
    other = {"text": "label", "label": "text"}[role]
    with pytest.raises(InputError, match=f"Name it with --{role} COLUMN"):
        load_file(path, **{other: columns[-1]})
    assert len(load_file(path, **{other: columns[-1], role: columns[0]}).pool) == 2


def test_a_usual_word_in_a_sentence_says_nothing(tmp_path):
    path = write(tmp_path / "rows.csv", [("fine", "a", "b")], ("the content of this was good", "more", "most"))
    with pytest.raises(InputError, match="no column looks like the text"):
        load_file(path)


def test_a_line_break_in_a_columns_name_is_escaped_where_it_is_shown():
    table = Table(Path("rows.json"), ("text", "prompt", "a\nb"), ())
    with pytest.raises(
        InputError, match=r"^rows\.json: more than one .* Columns: text, prompt, a\\nb\. Name it [^\n]*$"
    ):
        find_column(table, "text", None, [])
