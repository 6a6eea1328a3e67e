import json
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from table_files import write

from ia2.errors import InputError
from ia2.tasks.files import load_queries
from ia2.tasks.files.forms import instructed
from ia2.tasks.task import Task

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
    (tmp_path / "more.txt").write_bytes(b"a\n\x81\n")
    with pytest.raises(InputError, match="more.txt: this is not UTF-8, UTF-16 or Windows-1252 text"):
        load_queries(tmp_path / "more.txt", NOTHING)
    assert load_queries(tmp_path / "more.txt", NOTHING, encoding="latin-1")[0][1] == "Text:\x81\nLabel:"


def test_a_column_that_cannot_be_guessed_is_taken_when_it_alone_is_left_whatever_the_tasks_is_called(tmp_path):
    path = write(tmp_path / "more.csv", [("1", "a fine film")], ("a", "b"))
    with pytest.raises(InputError, match="Columns: a, b. Leave only the column of texts in it; if the first line"):
        load_queries(path, NOTHING)
    path = write(tmp_path / "more.csv", [("a fine film",)], ("b",))
    for named in (None, "review"):
        assert load_queries(path, NOTHING, named)[0] == ("Text:a fine film\nLabel:",)


@pytest.mark.parametrize(
    ("form", "row", "query"),
    [
        ("prompt", {"prompt": "Say b: ", "completion": "b"}, "Say b: "),
        ("instruction", {"instruction": "Sum up.", "input": "Long."}, instructed("Sum up.", "Long.")),
        ("instruction", {"text": "Sum up."}, instructed("Sum up.")),
        ("conversation", {"text": "Who?"}, "Who?"),
        ("conversation", {"messages": [{"role": "user", "content": "Who?"}]}, "Who?"),
    ],
)
def test_more_texts_become_queries_like_those_of_the_tasks_form(tmp_path, form, row, query):
    (tmp_path / "more.jsonl").write_text(json.dumps(row) + "\n")
    assert load_queries(tmp_path / "more.jsonl", replace(NOTHING, form=form))[0] == (query,)


def test_texts_that_have_a_label_already_are_left_out_and_counted(tmp_path, toy_task):
    labelled = [row.query.removeprefix("Text:").removesuffix("\nLabel:") for row in toy_task.pool[:2]]
    path = write(tmp_path / "more.csv", [(text,) for text in [*labelled, "new", "new"]], ("anything",))
    queries, notes = load_queries(path, toy_task)
    assert queries == ("Text:new\nLabel:",)
    assert notes == ("more.csv: 2 texts are also labelled rows and were left out.",)
    only_labelled = write(tmp_path / "same.csv", [(text,) for text in labelled], ("text",))
    with pytest.raises(InputError, match="same.csv: all of its texts are labelled rows of toy"):
        load_queries(only_labelled, toy_task)
