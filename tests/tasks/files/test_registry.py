import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from table_files import check_refusal, write

from ia2.errors import FieldError, InputError
from ia2.tasks.files import load_file
from ia2.tasks.files.registry import source_name
from ia2.tasks.task import Example

ROWS = [("good, really", "yes"), ('a "fine"\nday', "no"), ("bad\u2028line", "yes"), ("été", "no")]
EXPECTED = tuple(Example(f"Text:{text}\nLabel:", f" {label}") for text, label in ROWS)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".parquet", ".xlsx", ""])
def test_every_kind_of_file_gives_the_same_rows(tmp_path, ending):
    task = load_file(write(tmp_path / f"rows{ending}", ROWS))
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
    assume(len(set(distinct.values())) > 1)
    pools = {load_file(write(tmp_path / f"rows.{ending}", rows)).pool for ending in ("csv", "json", "jsonl", "parquet")}
    assert len(pools) == 1
    assert {example.query for example in pools.pop()} == {f"Text:{text}\nLabel:" for text in distinct}


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("rows.csv", b"", "this file is empty"),
        ("rows.csv", b"text,label\n", "no rows"),
        ("rows.csv", b"\xef\xbb\xbf", "no rows"),
        ("rows.csv", b"text,label\n\x81,x\n", "this is not UTF-8, UTF-16 or Windows-1252 text"),
        ("rows.doc", b"PK", "unknown file type '.doc'. Use one of .csv, "),
        ("rows.xls", b"PK", "unknown file type '.xls'. Save it as .xlsx"),
    ],
)
def test_files_that_cannot_be_used_are_refused_in_a_sentence(tmp_path, name, content, said):
    check_refusal(tmp_path, name, content, said)


def test_paths_that_are_no_files_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"rows.csv: no such file"):
        load_file(tmp_path / "rows.csv")
    with pytest.raises(InputError, match="this folder was not written by datasets.save_to_disk"):
        load_file(tmp_path)


def test_an_encoding_is_for_text_files_alone_and_passes_over_a_second_file_that_is_none(tmp_path):
    path = write(tmp_path / "rows.parquet", ROWS)
    with pytest.raises(FieldError, match="^encoding cp1252: this is for text files, which .*rows.parquet is not"):
        load_file(path, encoding="cp1252")
    (tmp_path / "rows.csv").write_bytes("text,label\ncafé,yes\nthé,no\n".encode("cp1252"))
    task = load_file(tmp_path / "rows.csv", encoding="cp1252", evaluation_path=path)
    assert [example.query for example in task.pool] == ["Text:café\nLabel:", "Text:thé\nLabel:"]
    assert task.evaluation == EXPECTED


@pytest.mark.parametrize(
    ("name", "called"),
    [("a/rows.v2.csv", "rows.v2"), ("hf:owner/name-1.5", "name-1.5"), ("hf:owner/name::test", "name-test")],
)
def test_a_task_is_called_by_the_name_of_its_data(name, called):
    assert source_name(name) == called
