import csv
import json

import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ia2.errors import InputError
from ia2.tasks.files import load_file, load_queries
from ia2.tasks.task import Example, Task

ROWS = [("good, really", "yes"), ('a "fine"\nday', "no"), ("bad\u2028line", "yes"), ("été", "no")]
EXPECTED = tuple(Example(f"Text:{text}\nLabel:", f" {label}") for text, label in ROWS)


def write(path, rows, columns=("text", "label")):
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerows([columns, *rows])
    elif path.suffix == ".parquet":
        polars.DataFrame(records).write_parquet(path)
    else:
        path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "ndjson", "parquet"])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, ending):
    task = load_file(write(tmp_path / f"rows.{ending}", ROWS))
    assert task.pool == EXPECTED
    assert task.evaluation == ()
    assert task.labels == (" no", " yes")
    assert task.name == "rows"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1), min_size=2, unique=True)
)
def test_any_texts_come_back_from_every_kind_of_file(tmp_path, texts):
    rows = [(text, str(index % 2)) for index, text in enumerate(texts) if text.strip()]
    distinct = {text.strip(): label for text, label in reversed(rows)}
    if len(set(distinct.values())) < 2:
        return
    pools = {load_file(write(tmp_path / f"rows.{ending}", rows)).pool for ending in ("csv", "jsonl", "parquet")}
    assert len(pools) == 1
    assert {example.query for example in pools.pop()} == {f"Text:{text}\nLabel:" for text in distinct}


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
        f"rows.csv: {chosen[0]!r} is taken for the text.",
        f"rows.csv: {chosen[1]!r} is taken for the label.",
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


def test_a_column_name_that_comes_twice_is_refused(tmp_path):
    path = write(tmp_path / "rows.csv", [("a", "b", "x")], ("text", "text", "label"))
    with pytest.raises(InputError, match="two columns are called 'text'. Give each a name of its own"):
        load_file(path, text="text")


def test_blank_lines_before_the_header_are_passed_over(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("\n\ntext;label\na;x\nb;y\n")
    assert [example.response for example in load_file(path).pool] == [" x", " y"]


def test_a_file_whose_texts_are_all_evaluated_is_refused_by_name(tmp_path):
    path = write(tmp_path / "rows.csv", [("a", "x"), ("b", "y")])
    with pytest.raises(InputError, match="it holds every text of rows.csv, so that none is left to learn"):
        load_file(path, evaluation_path=path)


def test_named_columns_are_taken_and_must_be_there(tmp_path):
    path = write(tmp_path / "rows.csv", [("q", "one", "x"), ("r", "two", "y")], ("text", "other", "mark"))
    assert load_file(path, text="other", label="mark").pool[0] == Example("Text:one\nLabel:", " x")
    with pytest.raises(InputError, match="no column is called 'grade'. Columns: text, other, mark"):
        load_file(path, label="grade")
    with pytest.raises(InputError, match="can't be both"):
        load_file(path, text="mark", label="mark")


def test_values_that_are_no_strings_become_the_words_people_write(tmp_path):
    rows = [("a", True), ("b", False), ("c", 3), ("d", 3.0), ("e", 0.5), (12, "x")]
    task = load_file(write(tmp_path / "rows.jsonl", rows))
    assert [example.response for example in task.pool] == [" true", " false", " 3", " 3", " 0.5", " x"]
    assert task.pool[-1].query == "Text:12\nLabel:"


def test_rows_that_lack_something_or_repeat_a_text_are_left_out_and_counted(tmp_path):
    rows = [("a", "x"), ("", "x"), ("b", None), ("a", "y"), ("c", "y"), ("c", "y")]
    task = load_file(write(tmp_path / "rows.jsonl", rows))
    assert [example.query for example in task.pool] == ["Text:a\nLabel:", "Text:c\nLabel:"]
    assert "rows.jsonl: 2 rows without a text or a label were left out." in task.notes
    said = "rows.jsonl: 2 rows repeat a text and were left out (1 of these texts have different labels)."
    assert said in task.notes


def test_what_is_evaluated_is_never_trained_on(tmp_path):
    train = write(tmp_path / "train.csv", [("a", "x"), ("b", "y"), ("c", "x")])
    evaluation = write(tmp_path / "eval.jsonl", [("b", "y"), ("d", "x")])
    task = load_file(train, evaluation_path=evaluation)
    assert [example.query for example in task.pool] == ["Text:a\nLabel:", "Text:c\nLabel:"]
    assert {example.query for example in task.evaluation} == {"Text:b\nLabel:", "Text:d\nLabel:"}
    assert not {example.query for example in task.pool} & {example.query for example in task.evaluation}
    assert any("1 rows are also evaluated" in note for note in task.notes)


def test_many_long_labels_are_free_text_and_that_is_said(tmp_path):
    rows = [(f"question {index}", f"an answer of its own, which is number {index} of them") for index in range(12)]
    path = write(tmp_path / "rows.csv", rows)
    task = load_file(path)
    assert task.response_kind == "text"
    assert any("free text" in note for note in task.notes)
    assert load_file(path, response_kind="label").response_kind == "label"
    short = write(tmp_path / "short.csv", [(f"q{index}", f"a{index}") for index in range(12)])
    assert load_file(short).response_kind == "label"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", b"", "this file is empty"),
        ("rows.csv", b"text,label\n", "no rows"),
        ("rows.csv", b"\xef\xbb\xbf", "no rows"),
        ("rows.csv", b"text,label\na,x\nb\n", "line 3: 1 values where the header has 2 columns"),
        ("rows.csv", b'text,label\n"a,x\n', "no proper CSV"),
        ("rows.csv", "text,label\né,x\n".encode("latin-1"), "not UTF-8"),
        ("rows.csv", b"text,label\na,x\nb,x\n", "every row has the label 'x'"),
        ("rows.csv", b"text,label\n,x\nb,\n", "no row has both"),
        ("rows.parquet", b"text,label\na,x\n", "no Parquet file"),
        ("rows.jsonl", b'{"text": "a", "label": "x"}\n{"text": "b", "la', "line 2: this is no JSON object"),
        ("rows.jsonl", b"[1, 2]\n", "line 1: this is no JSON object"),
        ("rows.jsonl", b'{"text": ["a"], "label": "x"}\n', "line 1: 'text' holds a list"),
        ("rows.xlsx", b"PK", "the ending '.xlsx' is not known"),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_a_sentence(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as raised:
        load_file(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)


def test_paths_that_are_no_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"rows.csv: no such file"):
        load_file(tmp_path / "rows.csv")
    with pytest.raises(InputError, match="this is a folder"):
        load_file(tmp_path)


def test_labels_and_columns_of_the_second_file_must_be_the_firsts(tmp_path):
    train = write(tmp_path / "train.csv", [("a", "x"), ("b", "y")])
    with pytest.raises(InputError, match="the label 'z' is not among those of train.csv"):
        load_file(train, evaluation_path=write(tmp_path / "eval.csv", [("c", "z")]))
    with pytest.raises(InputError, match="no column 'label'"):
        load_file(train, evaluation_path=write(tmp_path / "other.csv", [("c", "z")], ("text", "mark")))


NOTHING = Task(name="nothing", description="no rows", source="here")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\ufeff")).map(str.strip), min_size=1),
    st.sampled_from(["\n", "\r\n"]),
)
def test_a_line_of_a_text_file_is_a_query_whatever_it_holds(tmp_path, texts, ending):
    (tmp_path / "more.txt").write_bytes(ending.join(["a\u2028b\x0cc\x85d\re", *texts]).encode())
    queries, _ = load_queries(tmp_path / "more.txt", NOTHING)
    assert queries == tuple(dict.fromkeys(f"Text:{text}\nLabel:" for text in ["a\u2028b\x0cc\x85d\re", *texts] if text))


def test_text_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(InputError, match="more.txt: no such file"):
        load_queries(tmp_path / "more.txt", NOTHING)
    (tmp_path / "more.txt").write_bytes(b"a\n\xff\n")
    with pytest.raises(InputError, match="more.txt: this is not UTF-8 text"):
        load_queries(tmp_path / "more.txt", NOTHING)
