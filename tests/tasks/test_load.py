import json
import re
import time
from dataclasses import replace

import datasets
import huggingface_hub
import pyarrow
import pytest
from conftest import real_data
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils import httpx
from pyarrow import parquet

from ia2.errors import FieldError, InputError
from ia2.prompting.fewshot import FewShotSet
from ia2.tasks import load
from ia2.tasks.benchmark import BenchmarkOptions
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.tasks.load import load_task


def lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def sst2(start, count):
    return [{"sentence": f"text {index}\u2028", "label": index % 2} for index in range(start, start + count)]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sst2").mkdir()
    (tmp_path / "sst2" / "train.jsonl").write_text(lines(sst2(0, 30)), encoding="utf-8")
    (tmp_path / "sst2" / "test.jsonl").write_text(lines(sst2(25, 10)), encoding="utf-8")
    return tmp_path


def test_a_folder_in_the_hubs_columns_is_read_line_by_line(folder):
    task = load_task("sst2", data_dir=folder)
    assert {row.query for row in task.evaluation} == {f"Text:text {index}\u2028\nLabel:" for index in range(25, 35)}
    # five rows of the training file are also evaluated, and are never trained on
    assert {row.query for row in task.pool} == {f"Text:text {index}\u2028\nLabel:" for index in range(25)}


def test_the_environment_names_the_folder(folder, monkeypatch):
    monkeypatch.setenv("IA2_DATA_DIR", str(folder))
    assert load_task("sst2") == load_task("sst2", data_dir=folder)


def test_other_rows_have_another_source(folder):
    before = load_task("sst2", data_dir=folder).source
    (folder / "sst2" / "test.jsonl").write_text(lines(sst2(40, 10)), encoding="utf-8")
    assert load_task("sst2", data_dir=folder).source != before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"sentence": "a", "label": 1}\n{"sentence": "b", "la', "train.jsonl, line 2: this is not a JSON object"),
        ('{"text": "a", "label": 1}\n', "train.jsonl, line 1: the column sentence is missing"),
        ("3\n", "line 1: this is not a JSON object"),
    ],
)
def test_damaged_files_are_refused_by_line(folder, content, said):
    (folder / "sst2" / "train.jsonl").write_text(content)
    with pytest.raises(InputError, match=said):
        load_task("sst2", data_dir=folder)


def wrong_row_in(data_dir, name, row, split):
    """Write a benchmark's files, with three rows of its columns each and a fourth one that is wrong in this split."""
    benchmark = BENCHMARKS[name]
    right = {"label": 0, "answer": True if name == "strategytf" else "1", "choices": QASC["choices"], "answerKey": "A"}
    (data_dir / benchmark.folder).mkdir()
    for file in ("train", "test"):
        rows = [{column: right.get(column, f"{file} {at}") for column in benchmark.columns} for at in range(3)]
        wrong = [{**rows[1], **row}] if file == split else []
        (data_dir / benchmark.folder / f"{file}.jsonl").write_text(lines(rows + wrong))


QASC = {"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("sst2", {"sentence": "a", "label": -1}, "the label '-1' is not one of 0, 1"),
        ("agnews", {"text": "a", "label": 4}, "the label '4' is not one of 0, 1, 2, 3"),
        ("finsen", {"sentence": "a", "label": 7}, "this row doesn't look like one of takala/financial_phrasebank"),
        ("poems", {"verse_text": "a", "label": -1}, "this row doesn't look like one of google-research-datasets"),
        ("sst2", {"sentence": None, "label": 1}, "the column sentence holds None, which is not text"),
        ("sst2", {"sentence": "a", "label": True}, "the column label holds True, which is not a whole number"),
        ("strategytf", {"question": "a", "answer": "yes"}, "the column answer holds 'yes', which is neither true nor"),
        ("gsm8k", {"question": "a", "answer": 5}, "the column answer holds 5, which is not text"),
        ("gsm8k", {"question": "a", "answer": None}, "the column answer holds None, which is not text"),
        ("hmath_algebra", {"problem": ["a"], "solution": "b"}, "the column problem holds ['a'], which is not text"),
        ("qasc_remap", {**QASC, "choices": "a, b"}, "the column choices holds 'a, b', which is not a JSON object"),
        ("qasc_remap", {**QASC, "answerKey": "C"}, "this row doesn't look like one of allenai/qasc"),
        ("qasc_remap", {**QASC, "choices": {"text": ["a", None], "label": ["A", "B"]}}, "doesn't look like one of"),
        ("qasc_remap", {**QASC, "choices": {"text": list("abcdefghi"), "label": ["A"]}}, "doesn't look like one of"),
    ],
)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_row_that_is_none_of_the_benchmarks_is_refused_by_line(tmp_path, name, row, said, split):
    wrong_row_in(tmp_path, name, row, split)
    if name == "qasc_remap" and split == "train":  # it only evaluates, and its rows for training are never read
        assert load_task(name, data_dir=tmp_path).pool == ()
    else:
        with pytest.raises(InputError) as raised:
            load_task(name, data_dir=tmp_path)
        assert str(raised.value).startswith(f"{tmp_path / BENCHMARKS[name].folder / split}.jsonl, line 4: ")
        assert said in str(raised.value)


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("content", ["", "\n\n"])
def test_a_file_without_rows_is_refused_and_nothing_is_held_out_in_its_place(folder, split, content):
    (folder / "sst2" / f"{split}.jsonl").write_text(content)
    with pytest.raises(
        InputError, match=f"sst2/{split}.jsonl: there is no row here that sst2 can use; is the file truncated"
    ):
        load_task("sst2", data_dir=folder)


def test_a_file_is_refused_whose_rows_are_all_of_classes_that_the_paper_leaves_out(folder):
    (folder / "financial_phrasebank").mkdir()
    for split, feelings in {"train": [0, 1, 2], "test": [1, 1]}.items():
        rows = [{"sentence": f"{split} {at}", "label": feeling} for at, feeling in enumerate(feelings)]
        (folder / "financial_phrasebank" / f"{split}.jsonl").write_text(lines(rows))
    # the hub has no split to evaluate on, but a folder has a file of its own for it
    with pytest.raises(InputError, match="financial_phrasebank/test.jsonl: there is no row here that finsen can use"):
        load_task("finsen", data_dir=folder)


def test_files_that_are_not_there_are_named(folder, monkeypatch):
    missing = f"{folder}: there is no folder {folder / 'ag_news'}, where agnews should be. Name another folder"
    with pytest.raises(FieldError, match=f"^data_dir {re.escape(missing)}"):
        load_task("agnews", data_dir=folder)
    monkeypatch.setenv("IA2_DATA_DIR", str(folder))
    with pytest.raises(InputError, match=f"^IA2_DATA_DIR {re.escape(missing)}"):
        load_task("agnews")
    (folder / "sst2" / "test.jsonl").unlink()
    with pytest.raises(InputError, match=r"test.jsonl: no such file"):
        load_task("sst2", data_dir=folder)


def test_unknown_tasks_are_refused_with_what_was_meant():
    with pytest.raises(FieldError, match="^task sst: no such task. Did you mean sst2?"):
        load_task("sst")


class FakeHub:
    """A hub of one dataset, which has any configuration."""

    def __init__(self, monkeypatch, splits):
        self.splits, self.asked = splits, []
        monkeypatch.delenv("IA2_DATA_DIR", raising=False)
        monkeypatch.setattr(load, "commit_of", lambda _dataset, **_names: "c0ffee")
        monkeypatch.setattr(datasets, "load_dataset", self.load)

    def load(self, name, config, *, data_dir, split, revision):
        self.asked.append((name, config, data_dir, split, revision))
        return datasets.Dataset.from_list(self.splits[split])


def test_hub_splits_are_those_of_the_paper(monkeypatch):
    hub = FakeHub(monkeypatch, {"train": sst2(0, 20), "validation": sst2(20, 8)})
    task = load_task("sst2")
    assert (len(task.pool), len(task.evaluation)) == (20, 8)
    assert hub.asked == [("stanfordnlp/sst2", None, None, split, "c0ffee") for split in ("train", "validation")]
    assert task.source.startswith("hub stanfordnlp/sst2@c0ffee, sha256:")


def test_an_empty_split_of_the_hub_is_refused(monkeypatch):
    FakeHub(monkeypatch, {"train": sst2(0, 20), "validation": []})
    with pytest.raises(InputError, match="stanfordnlp/sst2 validation: there is no row here that sst2 can use"):
        load_task("sst2")


def test_where_the_hub_has_one_split_rows_are_held_out(monkeypatch):
    rows = [{"sentence": f"text {index}", "label": 2 * (index % 2)} for index in range(1200)]
    FakeHub(monkeypatch, {"train": rows})
    task = load_task("finsen")
    assert (len(task.pool), len(task.evaluation)) == (700, 500)


def test_a_dataset_that_the_hub_converted_is_read_from_its_configurations_folder(tmp_path, monkeypatch):
    # as the branch of conversions has them: <configuration>/<split>/0000.parquet, and nothing that names them
    converted = tmp_path / "converted"
    for configuration, feelings in {"sentences_50agree": [0, 1, 2], "sentences_allagree": [1]}.items():
        folder = converted / configuration / "train"
        folder.mkdir(parents=True)
        rows = [{"sentence": f"{configuration} {at}", "label": feeling} for at, feeling in enumerate(feelings * 400)]
        parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "0000.parquet")
    finsen = replace(BENCHMARKS["finsen"], hub=str(converted))
    monkeypatch.delenv("IA2_DATA_DIR", raising=False)
    monkeypatch.setattr(load, "BENCHMARKS", {"finsen": finsen})
    monkeypatch.setattr(load, "commit_of", lambda _dataset, **_names: "c0ffee")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    task = load_task("finsen")
    # 800 of the 1,200 sentences aren't neutral, and 500 of them are held out
    assert (len(task.pool), len(task.evaluation)) == (300, 500)
    assert all(row.query.startswith("Text:sentences_50agree ") for row in task.pool + task.evaluation)


def test_a_task_that_only_evaluates_reads_all_its_splits(monkeypatch):
    rows = {
        split: [{"verse_text": f"{split} {i}", "label": i % 4} for i in range(8)]
        for split in ("train", "validation", "test")
    }
    FakeHub(monkeypatch, rows)
    task = load_task("poems")
    assert (task.pool, len(task.evaluation)) == ((), 12)


def hub_answers(monkeypatch, error):
    monkeypatch.delenv("IA2_DATA_DIR", raising=False)

    def fail(*_arguments, **_keywords):
        raise error

    monkeypatch.setattr(huggingface_hub, "dataset_info", fail)


def test_a_hub_that_cannot_be_reached_is_one_quick_sentence(monkeypatch):
    hub_answers(monkeypatch, httpx.ConnectError("no route"))
    begun = time.perf_counter()
    with pytest.raises(
        InputError, match=r"sst2: the data hub can't be reached \(ConnectError\).* as data_dir or in \$IA2_DATA"
    ) as raised:
        load_task("sst2")
    assert time.perf_counter() - begun < 5
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        (RepositoryNotFoundError, 401, "finsen: the hub doesn't provide takala/financial_phrasebank (Repository"),
        (RevisionNotFoundError, 404, "finsen: takala/financial_phrasebank no longer has a branch refs/convert/parquet"),
        (HfHubHTTPError, 503, "finsen: the data hub answered with an error (503 Service Unavailable)"),
    ],
)
def test_what_the_hub_answers_is_said_and_the_connection_not_blamed(monkeypatch, kind, status, said):
    request = httpx.Request("GET", "https://huggingface.co")
    hub_answers(monkeypatch, kind("refused\n\nRequest ID: 1", response=httpx.Response(status, request=request)))
    with pytest.raises(InputError) as raised:
        load_task("finsen")
    assert str(raised.value).startswith(said)
    assert "connection" not in str(raised.value)
    assert "test.jsonl as data_dir or in $IA2_DATA_DIR" in str(raised.value)


def test_a_fault_of_ours_is_no_answer_of_the_hub(monkeypatch):
    hub_answers(monkeypatch, TypeError("dataset_info takes no revision"))
    with pytest.raises(TypeError):
        load_task("finsen")


@real_data
@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_loads_from_real_files_without_leakage(data_dir, name):
    benchmark, task = BENCHMARKS[name], load_task(name, data_dir=data_dir)
    assert len(task.evaluation) == {"finsen": 234, "poems": 359, "sciq": 445}.get(name, 500)
    assert bool(task.pool) is not benchmark.evaluation_only
    assert not {row.query for row in task.pool} & {row.query for row in task.evaluation}
    if task.labels:
        assert {row.response for row in task.evaluation} == set(task.labels)
    if benchmark.evaluation_only:
        with pytest.raises(InputError, match="for evaluation only"):
            FewShotSet.draw(task, 4)
    for seed in range(0 if benchmark.evaluation_only else 5):
        few = FewShotSet.draw(task, 16, seed)
        shown = {row.query for context in few.training_contexts() + few.dev_contexts() for row in context}
        used = shown | {row.query for row in (*few.train, *few.dev, *few.demonstrations())}
        assert not used & {row.query for row in few.evaluation}


@real_data
def test_a_real_prompt_is_put_together_as_the_protocol_says(data_dir):
    labels = {}
    for line in (data_dir / "sst2" / "test.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n"):
        row = json.loads(line)
        labels.setdefault("Text:" + row["sentence"] + "\nLabel:", str(row["label"]))
    evaluation = load_task("sst2", data_dir=data_dir).evaluation
    assert len(evaluation) == 500
    assert {row.query: row.response for row in evaluation}.items() <= labels.items()
    questions = [
        json.loads(line)
        for line in (data_dir / "sciq" / "test.jsonl").read_text(encoding="utf-8").rstrip("\n").split("\n")
    ]
    made = {row.query.split("\n")[0]: row for row in load_task("sciq_remap", data_dir=data_dir).evaluation}
    for row in questions[:50]:
        example = made[f"Question:{row['question']}"]
        assert f"[{example.response}]{row['correct_answer']}\n" in example.query


def test_labels_may_be_words_for_what_the_numbers_mean(folder):
    numbers = load_task("sst2", data_dir=folder)
    words = load_task("sst2", data_dir=folder, options=BenchmarkOptions(label_words="natural"))
    assert words.labels == (" negative", " positive")
    meant = {"0": " negative", "1": " positive"}
    assert [(row.query, row.response) for row in words.pool] == [
        (row.query, meant[row.response]) for row in numbers.pool
    ]
    assert words.source != numbers.source


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=BENCHMARKS)
def test_every_label_that_is_a_number_has_a_word(benchmark):
    numbered = bool(benchmark.labels) and all(label.isdecimal() for label in benchmark.labels)
    assert numbered == ("label_words" in benchmark.options)
    if numbered:
        assert set(benchmark.words) == set(benchmark.labels)


def test_poems_of_the_train_split_and_sciqs_validation_split_can_be_measured(tmp_path):
    for folder, make in (
        ("poem_sentiment", lambda split, at: {"verse_text": f"{split} {at}", "label": at % 2}),
        ("sciq", lambda split, at: {"question": f"{split} {at}", "support": "s", "correct_answer": "a"}),
    ):
        (tmp_path / folder).mkdir()
        for split in ("train", "validation", "test"):
            rows = [make(split, at) for at in range(4)]
            (tmp_path / folder / f"{split}.jsonl").write_text(lines(rows), encoding="utf-8")

    def measured(name, **options):
        task = load_task(name, data_dir=tmp_path, options=BenchmarkOptions(**options))
        return {row.query.split(":")[1].split()[0] for row in task.evaluation}

    assert measured("poems") == {"train", "test"}
    assert measured("poems", poems_rows="train") == {"train"}
    assert measured("sciq") == {"test"}
    assert measured("sciq", sciq_rows="validation") == {"validation"}
    with pytest.raises(InputError, match="sciq: this task has no option poems_rows"):
        measured("sciq", poems_rows="train")


def test_the_hub_is_asked_for_the_split_that_is_measured():
    assert BENCHMARKS["poems"].measured(BenchmarkOptions()) == ("train", "validation", "test")
    assert BENCHMARKS["poems"].measured(BenchmarkOptions(poems_rows="train", sciq_rows="validation")) == ("train",)
    assert BENCHMARKS["sciq_remap"].measured(BenchmarkOptions(sciq_rows="validation")) == ("validation",)
    assert BENCHMARKS["gsm8k"].measured(BenchmarkOptions(sciq_rows="validation")) == ("test",)


@real_data
def test_the_papers_poems_are_288(data_dir):
    task = load_task("poems", data_dir=data_dir, options=BenchmarkOptions(poems_rows="train"))
    assert len(task.evaluation) == 288
