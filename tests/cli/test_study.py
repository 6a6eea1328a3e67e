import json

import pytest
import yaml
from command_line import run

from ia2.experiments import unit_training


@pytest.fixture
def file(tmp_path, model):
    """Writes the file of a study."""

    def write(name, **changes):
        settings = {
            "name": name,
            "models": [str(model)],
            "tasks": ["reviews"],
            "n": [4],
            "sets": 1,
            "learning_rates": [1e-3],
            "rows": 4,
            "asim_rows": 2,
            "label_scoring": "whole",
            "training": {"epochs": 1},
            "methods": ["zero-shot", "sft"],
            **changes,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(settings))
        return path

    return write


def test_several_studies_share_what_they_have_in_common(capsys, tmp_path, file, monkeypatch):
    files = [file("first"), file("second", methods=["zero-shot", "sft", "ia2"])]
    out, store = tmp_path / "out", tmp_path / "out" / "store"
    trained = []
    plain = unit_training.train_all

    def counted(model, plans, **more):
        trained.extend(plan.method.name for plan in plans)
        return plain(model, plans, **more)

    monkeypatch.setattr(unit_training, "train_all", counted)
    status, printed, err = run(capsys, "run", *files, "--out", out, "--store", store)
    assert status == 0, err
    assert trained == ["sft", "ia2"]
    assert "Together: 3 adapters, 2 of them different" in printed
    assert printed.count("1 units computed") == 2
    assert f"Already trained, loaded from {store}: lora_sft_lr0.001." in err
    names = [path.relative_to(out).parts[:2] for path in sorted(out.glob("*/records"))]
    assert names == [("first", "records"), ("second", "records")]
    records = [json.loads(file.read_text()) for file in out.glob("*/records/*/lora_sft_*.json")]
    assert records[0]["metrics"] == records[1]["metrics"]
    # the same command finds everything there
    status, printed, err = run(capsys, "run", *files, "--out", out, "--store", store)
    assert (status, printed.count("0 units computed, 1 already done")) == (0, 2), err


def test_a_dry_run_of_several_says_what_they_have_in_common(capsys, tmp_path, file):
    files = [file("first"), file("second", methods=["sft", "ia2"])]
    status, printed, err = run(capsys, "run", *files, "--dry-run")
    assert status == 0, err
    assert printed.count("1 unit: ") == 2
    assert printed.endswith("Together: 3 adapters, 2 of them different; with --store, each of these is trained once.\n")


def test_two_studies_of_one_name_are_refused(capsys, tmp_path, file):
    first = file("first")
    second = first.with_name("copy.yaml")
    second.write_text(first.read_text())
    status, _, err = run(capsys, "run", first, second, "--out", tmp_path / "out")
    assert (status, err) == (2, f"{second}: {first} is also called first. Rename one of them.\n")
    assert not (tmp_path / "out").exists()


def test_a_study_that_is_named_twice_and_a_store_that_is_a_file_are_refused(capsys, tmp_path, file):
    first, out = file("first"), tmp_path / "out"
    status, _, err = run(capsys, "run", first, first, "--out", out)
    assert (status, err) == (2, f"{first}: this study is given twice. Give it once.\n")
    status, _, err = run(capsys, "run", first, "--out", out, "--store", first)
    assert (status, err) == (2, f"{first}: this is a file. Name the folder.\n")
    assert not out.exists()


def test_a_folder_that_one_of_several_cannot_take_is_refused_before_anything_is_computed(capsys, tmp_path, file):
    files = [file("first"), file("second")]
    (tmp_path / "out" / "second").mkdir(parents=True)
    (tmp_path / "out" / "second" / "theirs").write_text("")
    status, printed, err = run(capsys, "run", *files, "--out", tmp_path / "out")
    assert status == 2
    assert err.endswith("second: this folder holds something else. Name another one with --out.\n")
    assert "computed" not in printed
    assert not (tmp_path / "out" / "first").exists()
