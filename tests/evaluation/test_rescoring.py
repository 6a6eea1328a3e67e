import json

import pytest

from ia2.errors import InputError
from ia2.evaluation.rescoring import rescore
from ia2.experiments.adaptation import Adaptation, Settings
from ia2.prompting.fewshot import FewShotSet
from ia2.tasks import answers
from ia2.training.early_stopping import Training


@pytest.fixture
def folder(tiny_model, toy_texts, tmp_path, monkeypatch):
    """What was measured of two baselines."""
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "out"
    adaptation = Adaptation(tiny_model, FewShotSet.draw(toy_texts, 2), Settings(training=Training(epochs=1)), folder)
    adaptation.measure_baseline("zero-shot", ())
    adaptation.measure_baseline("icl", toy_texts.pool[:2])
    return folder


def contents(folder):
    return {path: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_same_parser_changes_nothing(folder):
    before = contents(folder)
    assert [(one.rows, one.changed) for one in rescore(folder)] == [(12, 0), (12, 0)]
    assert contents(folder) == before


def test_another_parser_changes_rows_and_records(folder, monkeypatch):
    # every text now holds the answer that is right, but for one row
    rows = [json.loads(line) for line in (folder / "predictions" / "icl.jsonl").read_text().splitlines()]
    wrong = rows[3]["response"]
    found = {"number": lambda text: None if text == wrong else "7"}
    monkeypatch.setattr(answers, "FINDERS", found)
    monkeypatch.setattr("ia2.evaluation.texts.FINDERS", found)
    rescored = {one.path.stem: one for one in rescore(folder)}
    assert rescored["icl"].changed == 12
    for name in ("icl", "zero-shot"):
        record = json.loads((folder / "records" / f"{name}.json").read_text())
        assert record == json.loads(json.dumps(rescored[name].value))
        assert record["metrics"]["accuracy"] == pytest.approx(11 / 12)
        assert "asim" in record["metrics"]
        again = [json.loads(line) for line in (folder / "predictions" / f"{name}.jsonl").read_text().splitlines()]
        assert sum(row["correct"] for row in again) == 11


def test_what_cannot_be_rescored_is_said_and_nothing_is_touched(folder, tmp_path):
    with pytest.raises(InputError, match="no records here"):
        rescore(tmp_path)
    (folder / "predictions" / "zero-shot.jsonl").rename(tmp_path / "away")
    before = contents(folder)
    with pytest.raises(InputError, match="zero-shot.jsonl: no such file"):
        rescore(folder)
    (folder / "predictions" / "zero-shot.jsonl").write_text('{"query": "q"\n')
    with pytest.raises(InputError, match="damaged"):
        rescore(folder)
    (folder / "predictions" / "zero-shot.jsonl").unlink()
    assert contents(folder) == before


def test_labels_have_nothing_to_be_found(tiny_model, toy_task, tmp_path):
    adaptation = Adaptation(tiny_model, FewShotSet.draw(toy_task, 2), Settings(), tmp_path)
    adaptation.measure_baseline("zero-shot", ())
    with pytest.raises(InputError, match="records are of labels"):
        rescore(tmp_path)
