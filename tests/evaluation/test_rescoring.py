import json
from dataclasses import replace

import pytest
from small_study import study

from ia2.errors import InputError
from ia2.evaluation.rescoring import rescore
from ia2.experiments.plan import units
from ia2.experiments.unit import compute
from ia2.progress import SILENT
from ia2.tasks import answers


def measured(model, task, folder, monkeypatch):
    """What a study measures of two baselines, on this task."""
    monkeypatch.setattr("ia2.experiments.schema.load_rows", lambda *_a: task)
    experiment = study(methods=["zero-shot", "icl"], n=[2], sets=1, rows=None, label_scoring="token")
    compute(experiment, units(experiment)[0], model, folder, progress=SILENT)
    return folder


@pytest.fixture
def folder(tiny_model, toy_texts, tmp_path, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))
    return measured(tiny_model, replace(toy_texts, name="reviews"), tmp_path / "out", monkeypatch)


def file_of(folder, kind, name):
    """The file of a baseline's record or predictions."""
    (file,) = folder.glob(f"{kind}/*/{name}_on_reviews.*")
    return file


def contents(folder):
    return {path: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_same_parser_changes_nothing(folder):
    before = contents(folder)
    assert [(one.rows, one.changed) for one in rescore(folder)] == [(12, 0), (12, 0)]
    assert contents(folder) == before


def test_another_parser_changes_rows_and_records(folder, monkeypatch):
    # every text now holds the answer that is right, but for one row
    rows = [json.loads(line) for line in file_of(folder, "predictions", "icl").read_text().splitlines()]
    wrong = rows[3]["response"]
    found = {"number": lambda text: None if text == wrong else "7"}
    monkeypatch.setattr(answers, "FINDERS", found)
    monkeypatch.setattr("ia2.evaluation.texts.FINDERS", found)
    rescored = {one.record.method: one for one in rescore(folder)}
    assert rescored["icl"].changed == 12
    for name in ("icl", "zero-shot"):
        record = json.loads(file_of(folder, "records", name).read_text())
        assert record == rescored[name].record.as_json()
        assert record["metrics"]["accuracy"] == pytest.approx(11 / 12)
        assert "asim" in record["metrics"]
        again = [json.loads(line) for line in file_of(folder, "predictions", name).read_text().splitlines()]
        assert sum(row["correct"] for row in again) == 11


def test_what_cannot_be_rescored_is_said_and_nothing_is_touched(folder, tmp_path):
    with pytest.raises(InputError, match="no records here"):
        rescore(tmp_path)
    predictions = file_of(folder, "predictions", "zero-shot")
    predictions.rename(tmp_path / "away")
    before = contents(folder)
    with pytest.raises(InputError, match="zero-shot_on_reviews.jsonl: no such file"):
        rescore(folder)
    predictions.write_text('{"query": "q"\n')
    with pytest.raises(InputError, match="damaged"):
        rescore(folder)
    predictions.unlink()
    assert contents(folder) == before


def test_labels_have_nothing_to_be_found(tiny_model, toy_task, tmp_path, monkeypatch):
    measured(tiny_model, replace(toy_task, name="reviews"), tmp_path, monkeypatch)
    with pytest.raises(InputError, match="records are of labels"):
        rescore(tmp_path)


def test_what_a_killed_process_left_is_passed_over(folder):
    left = folder / "records" / ".partial-0a1b2c3d-unit"
    left.mkdir()
    (left / "icl_on_reviews.json").write_text("{")
    assert len(rescore(folder)) == 2
