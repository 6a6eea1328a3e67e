import json
from dataclasses import replace

import pytest

from ia2.records import Record

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
    assert json.loads(path.read_text(encoding="utf-8")) == json.loads(json.dumps(value))
    lines = (path.parent / value["predictions"]).read_text(encoding="utf-8").split("\n")
    assert [json.loads(line) for line in lines[:-1]] == rows
    assert [entry.name for entry in path.parent.iterdir()] == ["icl.json"]


def test_a_number_that_json_cannot_hold_is_refused_and_leaves_nothing(record, tmp_path):
    record.metrics["accuracy"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        record.write(tmp_path / "records" / "icl.json", tmp_path / "predictions" / "icl.jsonl", [])
    assert not [path for path in (tmp_path / "records").rglob("*") if path.is_file()]


def test_a_loss_that_was_no_number_stands_as_null(record, tmp_path):
    diverged = replace(record, stages=({"objective": "a", "dev_losses": ((0, 2.5), (2, float("nan")))},))
    path = tmp_path / "records" / "icl.json"
    diverged.write(path, tmp_path / "predictions" / "icl.jsonl", [])
    assert json.loads(path.read_text())["stages"] == [{"objective": "a", "dev_losses": [[0, 2.5], [2, None]]}]
