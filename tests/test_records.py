import gzip
import json
from pathlib import Path

import pytest
from study_records import changed

from ia2.errors import InputError
from ia2.records import Record, load_records, without_nan

KEYS = {"schema", "method", "model", "task", "n", "seed", "lr", "adapter", "metrics", "seconds", "versions"}


@pytest.fixture
def record():
    return Record(
        method="icl",
        model={"id": "tiny"},
        task={"train": "toy", "eval": "toy"},
        n=4,
        seed=0,
        lr=None,
        adapter=None,
        metrics={"accuracy": 0.5, "accuracy_interval": (0.25, 0.75)},
        seconds={"evaluate": 1.5},
    )


def test_a_record_has_the_keys_that_its_readers_rely_on(record):
    assert record.as_json().keys() >= KEYS
    assert record.as_json()["versions"].keys() >= {"python", "ia2", "torch", "transformers", "peft"}


def test_what_is_written_is_what_is_returned_and_names_its_predictions(record, tmp_path):
    rows = [{"query": "été\u2028", "correct": True}, {"query": "b", "correct": False}]
    path = tmp_path / "records" / "icl.json"
    value = record.write(path, tmp_path / "predictions" / "icl.jsonl", rows)
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(value.as_json()))
    lines = (path.parent / value.predictions).read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == rows
    assert [entry.name for entry in path.parent.iterdir()] == ["icl.json"]


def test_a_number_that_json_cannot_hold_is_refused_and_leaves_nothing(record, tmp_path):
    unsayable = changed(record, options={"temperature": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        unsayable.write(tmp_path / "records" / "icl.json", tmp_path / "predictions" / "icl.jsonl", [])
    assert not [path for path in (tmp_path / "records").rglob("*") if path.is_file()]


def test_a_loss_that_was_no_number_stands_as_null(record, tmp_path):
    stage = {"objective": "a", "dev_losses": ((0, 2.5), (2, float("nan")))}
    diverged = changed(record, stages=without_nan([stage]))
    path = tmp_path / "records" / "icl.json"
    diverged.write(path, tmp_path / "predictions" / "icl.jsonl", [])
    assert json.loads(path.read_text())["stages"] == [{"objective": "a", "dev_losses": [[0, 2.5], [2, None]]}]


def test_what_is_read_is_what_was_written_and_unknown_keys_are_kept(record, tmp_path):
    value = record.as_json() | {"later": {"key": 1}}
    value["metrics"]["f1"] = 0.25
    path = tmp_path / "records" / "unit" / "icl.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(value))
    (read,) = load_records(tmp_path)
    assert read.as_json() == value
    assert read.metrics.get("f1") == 0.25
    assert read.file == "records/unit/icl.json"


def test_every_record_of_the_published_results_is_read():
    packed = Path(__file__).parents[1] / "docs" / "results" / "stronger" / "records.jsonl.gz"
    lines = [json.loads(line) for line in gzip.decompress(packed.read_bytes()).decode().split("\n") if line]
    values = [line["record"] for line in lines if "record" in line]
    assert len(values) == 80
    for value in values:
        assert Record.of(value, packed).as_json() == value


def test_what_says_no_versions_is_not_given_todays(record, tmp_path):
    value = record.as_json()
    del value["versions"]
    (tmp_path / "icl.json").write_text(json.dumps(value))
    assert Record.read(tmp_path / "icl.json").versions == {}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n": None}, "n: "),
        ({"n": -1}, "n: "),
        ({"seed": -1}, "seed: "),
        ({"metrics": {"n": -1}}, "metrics.n: "),
        ({"metrics": {"label_accuracy": 1.5}}, "metrics.label_accuracy: "),
        ({"metrics": {"label_ece": -0.5}}, "metrics.label_ece: "),
        ({"metrics": {"accuracy_interval": [0.5]}}, "metrics.accuracy_interval.1 is missing"),
        ({"metrics": {"label_ece_interval": [0.1, "x"]}}, "metrics.label_ece_interval.1: "),
        ({"metrics": {"asim_interval": [0.1, 0.2, 0.3]}}, "metrics.asim_interval: "),
        ({"metrics": {"accuracy": float("nan")}}, "metrics.accuracy: "),
        ({"metrics": {"accuracy": 1.5}}, "metrics.accuracy: "),
        ({"lr": "0.1"}, "lr: "),
        ({"model": {}}, "model.id is missing"),
    ],
)
def test_a_damaged_record_is_refused_by_its_file_and_field(record, tmp_path, changes, told):
    path = tmp_path / "icl.json"
    path.write_text(json.dumps(record.as_json() | changes))
    with pytest.raises(InputError, match=rf"icl.json: this record can't be read \({told}"):
        Record.read(path)


def test_records_of_the_first_layout_lie_in_no_folder_of_a_unit(record, tmp_path):
    record.write(tmp_path / "records" / "icl.json", tmp_path / "predictions" / "icl.jsonl", [])
    assert [one.method for one in load_records(tmp_path)] == ["icl"]
    assert load_records(tmp_path)[0].rows(tmp_path).resolve() == tmp_path / "predictions" / "icl.jsonl"
