import json

import pytest

from ia2.cli import demo


def test_the_demo_writes_what_it_promises(tiny_model, toy_task, tmp_path, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "demo"
    folder.mkdir()
    result = demo.measure_everything(tiny_model, toy_task, folder, quick=True)
    assert {path.name for path in folder.iterdir()} == {"records", "adapters", "predictions", "figures"}
    assert [record["method"] for record in result.records] == ["zero-shot", "icl", "sft", "ia2", "ia2-sft"]
    assert {path.name for path in (folder / "adapters").iterdir()} == {"sft", "ia2", "ia2-sft"}
    assert {path.suffix for path in result.figures} == {".png", ".svg"}
    assert all(path.parent == folder / "figures" for path in result.figures)
    for record in result.records:
        assert json.loads((folder / "records" / f"{record['method']}.json").read_text())["method"] == record["method"]
        assert record["lr"] == (None if record["method"] in ("zero-shot", "icl") else pytest.approx(1e-3))
    trained = [stage for record in result.records for stage in record["stages"]]
    assert max(stage["steps"] for stage in trained) <= 4
