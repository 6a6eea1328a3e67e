import json
from dataclasses import replace

import pytest
import torch
from conftest import tiny_network
from peft import PeftModel

from ia2.adapters.adapter import Adapter
from ia2.errors import InputError
from ia2.evaluation.evaluate import evaluate
from ia2.experiments.adaptation import Adaptation, Settings
from ia2.progress import Silent
from ia2.prompting.fewshot import FewShotSet
from ia2.training.early_stopping import Training
from ia2.training.methods import IA2, IA2_THEN_SFT, SFT

SETTINGS = Settings(learning_rates=(1e-3, 1e-2), training=Training(epochs=3))


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def few(toy_task):
    return FewShotSet.draw(toy_task, 4)


def test_every_way_is_measured_and_recorded(tiny_model, few, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    adaptation = Adaptation(tiny_model, few, SETTINGS, folder, notes=("a note",))
    adaptation.measure_baseline("zero-shot", ())
    adaptation.measure_baseline("icl", few.demonstrations())
    adaptation.measure_methods({method: f"adapters/{method.name}" for method in (SFT, IA2, IA2_THEN_SFT)})
    records = {path.stem: json.loads(path.read_text()) for path in (folder / "records").iterdir()}
    assert records.keys() == {"zero-shot", "icl", "sft", "ia2", "ia2-sft"}
    assert list(folder.rglob("records")) == [folder / "records"]
    for name in ("zero-shot", "icl"):
        assert records[name]["lr"] is None
        assert records[name]["adapter"] is None
    assert (records["zero-shot"]["n"], records["icl"]["n"]) == (0, 4)
    assert records["icl"]["metrics"]["asim"] == pytest.approx(1.0, abs=1e-5)
    assert records["ia2"]["metrics"]["asim"] > records["zero-shot"]["metrics"]["asim"]
    for name, record in records.items():
        metrics = record["metrics"]
        assert metrics["n"] == len(few.evaluation)
        assert record["notes"] == ["a note"]
        low, high = metrics["accuracy_interval"]
        assert 0 <= low <= metrics["accuracy"] <= high <= 1
        assert len(metrics["asim_by_layer"]) == 3
        rows = [json.loads(line) for line in (folder / "predictions" / f"{name}.jsonl").read_text().splitlines()]
        assert sum(row["correct"] for row in rows) / len(rows) == metrics["accuracy"]
    both = records["ia2-sft"]
    assert [stage["objective"] for stage in both["stages"]] == ["align", "match-tokens"]
    assert both["stages"][0] == records["ia2"]["stages"][0] or both["lr"] != records["ia2"]["lr"]
    assert both["adapter"] == {
        "kind": "lora", "rank": 8, "alpha": 8, "modules": ["query", "key", "output"], "dora": False, "rslora": False,
        "dropout": 0.0, "path": "adapters/ia2-sft"
    }  # fmt: skip


def test_the_best_learning_rate_by_dev_loss_is_kept_and_saved(tiny_model, few, tmp_path):
    adaptation = Adaptation(tiny_model, few, SETTINGS, tmp_path)
    (record,) = adaptation.measure_methods({SFT: "adapter"})
    losses = {one["lr"]: one["dev_loss"] for one in record["options"]["tried"]}
    assert losses.keys() == {1e-3, 1e-2}
    assert record["lr"] == min(losses, key=losses.get)
    # what was saved answers as the record says, through PEFT
    model = PeftModel.from_pretrained(tiny_network("llama"), str(tmp_path / "adapter"))
    again = evaluate(replace(tiny_model, network=model.get_base_model()), few.evaluation, few.task)
    assert [row["predicted"] for row in adaptation.predictions["sft"]] == [row.predicted for row in again.predictions]


def test_the_teacher_is_not_asked_where_no_method_needs_it(tiny_model, few, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ia2.experiments.adaptation.collect_targets", lambda *_a, **_k: pytest.fail("the teacher was asked")
    )
    Adaptation(tiny_model, few, SETTINGS, tmp_path).measure_methods({SFT: "adapter"})


def test_without_evaluation_rows_the_adapter_is_kept_and_nothing_is_measured(tiny_model, few, tmp_path):
    without = replace(few, evaluation=())
    (record,) = Adaptation(tiny_model, without, SETTINGS, tmp_path).measure_methods({SFT: "adapter"})
    assert record["metrics"] == {"n": 0, "accuracy": None, "ece": None, "asim": None}
    assert Adapter.load(tmp_path / "adapter").weights


def test_the_network_is_left_as_it_was(tiny_model, few, tmp_path):
    before = {name: value.clone() for name, value in tiny_model.network.state_dict().items()}
    Adaptation(tiny_model, few, SETTINGS, tmp_path).measure_methods({IA2_THEN_SFT: "adapter"})
    after = tiny_model.network.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_rate_at_which_training_diverges_is_left_out_and_said(tiny_model, few, tmp_path):
    progress = Silent()
    said = []
    progress.say = said.append
    settings = replace(SETTINGS, learning_rates=(1e-3, 1e30))
    record = Adaptation(tiny_model, few, settings, tmp_path, progress=progress).measure_methods({SFT: "adapter"})[0]
    assert "sft diverged at the learning rate 1e+30, which is left out." in said
    assert record["lr"] == 1e-3
    assert [(one["lr"], one["dev_loss"] is None) for one in record["options"]["tried"]] == [(1e-3, False), (1e30, True)]
    settings = replace(SETTINGS, learning_rates=(1e29, 1e30))
    with pytest.raises(InputError, match=r"--lr 1e\+29, 1e\+30: sft diverged, and there is no other rate"):
        Adaptation(tiny_model, few, settings, tmp_path).measure_methods({SFT: "adapter"})
