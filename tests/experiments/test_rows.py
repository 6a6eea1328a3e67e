import hashlib
import json
from pathlib import Path

import pytest

from ia2.errors import FieldError, InputError
from ia2.experiments.rows import file_digests, load_rows, read_context
from ia2.experiments.schema_parts import Rows
from ia2.tasks.benchmark import BenchmarkOptions
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.tasks.files.forms import query_of_text

TEXTS = "question,answer\n" + "".join(f"what is {at}?,it is the number that is called {at}\n" for at in range(12))


def test_a_file_is_a_task_whose_responses_end_where_a_study_says(tmp_path):
    (tmp_path / "texts.csv").write_text(TEXTS)
    rows = Rows(data=tmp_path / "texts.csv", max_new_tokens=7, stop="!")
    task = load_rows(rows, "mine")
    assert (task.name, task.max_new_tokens, task.stop) == ("mine", 7, "!")
    assert load_rows(Rows(data=tmp_path / "texts.csv"), None).name == "texts"
    with pytest.raises(FieldError, match="stop: this is for responses of free text, and those of reviews are labels"):
        load_rows(Rows(stop="!"), "reviews")


def test_a_context_is_a_text_that_can_be_read(tmp_path):
    path = tmp_path / "context.txt"
    assert read_context(None) is None
    for content, said in ((b"", "is empty"), (b"\xff", "it is not UTF-8 text")):
        path.write_bytes(content)
        with pytest.raises(FieldError, match=said):
            read_context(path)
    path.write_text(" Answer in one word.\n")
    context = read_context(path)
    assert context is not None
    assert context.text == "Answer in one word."


def test_digests_are_of_what_files_hold(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert file_digests([tmp_path / "a"]) == {str(tmp_path / "a"): hashlib.sha256(b"abc").hexdigest()}
    with pytest.raises(InputError, match="none: this file can't be read"):
        file_digests([tmp_path / "none"])


def test_a_folders_digest_is_of_its_files_and_their_names_and_datasets_of_the_hub_have_none(tmp_path):
    folder = tmp_path / "rows"
    (folder / "train").mkdir(parents=True)
    (folder / "state.json").write_bytes(b"abc")
    (folder / "train" / "data.arrow").write_bytes(b"abc")

    def digest():
        (value,) = file_digests([folder, Path("hf:owner/name")]).values()
        return value

    same = hashlib.sha256(b"abc").hexdigest()
    before = digest()
    assert before == hashlib.sha256(f"{same} state.json\n{same} train/data.arrow\n".encode()).hexdigest()
    (folder / "train" / "data.arrow").rename(folder / "data.arrow")
    renamed = digest()
    (folder / "data.arrow").write_bytes(b"abd")
    assert len({before, renamed, digest()}) == 3


def test_an_encoding_reaches_the_file(tmp_path):
    (tmp_path / "rows.csv").write_bytes("text,label\né,x\nb,y\n".encode("cp850"))
    rows = Rows(data=tmp_path / "rows.csv", encoding="cp850")
    assert load_rows(rows, None).pool[0].query == "Text:é\nLabel:"


def test_the_teacher_writes_200_tokens_of_a_built_in_task_or_as_many_as_are_said(tmp_path):
    (tmp_path / "hendrycks_math_algebra").mkdir()
    for split in ("train", "test"):
        rows = [json.dumps({"problem": f"{split} {at}", "solution": r"\boxed{1}"}) for at in range(3)]
        (tmp_path / "hendrycks_math_algebra" / f"{split}.jsonl").write_text("\n".join(rows))

    def lengths(**rows):
        task = load_rows(Rows(**rows), "hmath_algebra", tmp_path)
        return task.max_new_tokens, task.for_teacher.max_new_tokens

    assert lengths() == (400, 200)
    assert lengths(teacher_tokens=50) == (400, 50)
    assert lengths(max_new_tokens=600) == (600, 600)
    assert lengths(max_new_tokens=600, teacher_tokens=50) == (600, 50)
    with pytest.raises(FieldError, match="teacher_tokens: this is for responses of free text"):
        load_rows(Rows(teacher_tokens=50), "reviews")


def test_unlabelled_texts_go_with_tasks_that_ask_of_texts(tmp_path):
    more = tmp_path / "more.txt"
    more.write_text("the sea was wide\n")
    assert load_rows(Rows(unlabelled=more), "reviews").name == "reviews"
    with pytest.raises(FieldError, match=r"unlabelled .*: sciq_remap asks questions.* one of sst2, finsen, agnews\."):
        load_rows(Rows(unlabelled=more), "sciq_remap")
    # each of those asks as unlabelled texts are asked
    for benchmark in BENCHMARKS.values():
        row = {column: {str: "x", int: 0, bool: True, dict: {"text": ["x"], "label": ["x"]}}[kind]
               for column, kind in benchmark.columns.items()} | {"answerKey": "x"}  # fmt: skip
        example = benchmark.example(row, BenchmarkOptions())
        assert (example.query == query_of_text("labelled", "x")) == benchmark.asks_of_texts
