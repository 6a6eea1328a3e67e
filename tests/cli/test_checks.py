import json
import shutil
import subprocess
import sys

import pytest
from command_line import run, write_csv

from ia2.cli import checks
from ia2.errors import InputError
from ia2.training.method_names import DESCRIPTIONS

PROGRAM = """
import sys
from ia2.cli.main import main
status = main(sys.argv[1:])
print(sorted({"torch", "transformers", "pydantic"}.intersection(sys.modules)))
sys.exit(status)
"""
ADAPT = ("adapt", "--out", "out")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_csv(tmp_path / "rows.csv")
    write_csv(tmp_path / "notes.csv", [("1", "a,b")], "id,text,note")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "theirs").write_text("")
    (tmp_path / "study" / "adapter").mkdir(parents=True)
    for name in checks.ADAPTER_FILES:
        (tmp_path / "study" / "adapter" / name).write_text("{}")
    (tmp_path / "study" / "plan.json").write_text("{}")
    (tmp_path / "study" / "records").mkdir()
    (tmp_path / "study.yaml").write_text("name: a\n")
    return tmp_path


REFUSED = {
    "model": (
        (*ADAPT, "--model", "smolm2-135m", "--data", "rows.csv"),
        "--model smolm2-135m: there is no such built-in model. Did you mean smollm2-135m?",
    ),
    "model's folder": (
        (*ADAPT, "--model", "./none", "--data", "rows.csv"),
        "./none: there is no such file or folder.",
    ),
    "file": (
        (*ADAPT, "--model", "smollm2-135m", "--data", "rows.cvs"),
        "rows.cvs: no such file. Did you mean rows.csv?",
    ),
    "file in a folder": (
        (*ADAPT, "--model", "smollm2-135m", "--data", "./study/plan.csv"),
        "study/plan.csv: no such file. Did you mean study/plan.json?",
    ),
    "second file": (
        (*ADAPT, "--model", "smollm2-135m", "--data", "rows.csv", "--eval-data", "row.csv"),
        "row.csv: no such file. Did you mean rows.csv?",
    ),
    "column": (
        (*ADAPT, "--model", "smollm2-135m", "--data", "notes.csv"),
        "notes.csv: no column looks like the label. Columns: id, text, note. Name it with --label COLUMN; "
        "if the first line is a row, put a header such as text,label above it.",
    ),
    "method": (
        (*ADAPT, "--model", "smollm2-135m", "--data", "rows.csv", "--method", "ia2-stf"),
        f"--method ia2-stf: no such method. Did you mean ia2-sft? Choose from {', '.join(DESCRIPTIONS)}.",
    ),
    "method's file": (
        (*ADAPT, "--model", "smollm2-135m", "--data", "rows.csv", "--method", "stdy.yaml"),
        "--method stdy.yaml: this file can't be read (No such file or directory). Did you mean study.yaml?",
    ),
    "context": (
        (*ADAPT, "--model", "smollm2-135m", "--data", "rows.csv", "--context", "none.txt"),
        "--context none.txt: this file can't be read (No such file or directory).",
    ),
    "kind": (
        (*ADAPT, "--model", "smollm2-135m", "--data", "rows.csv", "--adapter", "lorra"),
        "--adapter lorra: there is no such kind. Did you mean lora? Choose from lora, ia3, prompt, prefix, full, vera, "
        "shift.",
    ),
    "output": (
        ("adapt", "--out", "full", "--model", "smollm2-135m", "--data", "rows.csv"),
        "full: this folder holds something else. Name another one with --out.",
    ),
    "output file": (
        ("demo", "--out", "rows.csv"),
        "rows.csv: this is a file, but a folder is needed. Name another one.",
    ),
    "adapter": (
        ("evaluate", "--model", "smollm2-135m", "--data", "rows.csv", "--adapter", "study"),
        "study: no adapter here. Did you mean study/adapter?",
    ),
    "no adapter": (
        ("predict", "--adapter", "full", "a text"),
        "full: no adapter here: adapter_config.json is missing. Name the folder that holds it.",
    ),
    "no folder": (
        ("export", "stdy", "--merged", "merged"),
        "stdy: there is no such folder. Did you mean study?",
    ),
    "study's file": (
        ("run", "studi.yaml", "--out", "new"),
        "studi.yaml: this file can't be read (No such file or directory). Did you mean study.yaml?",
    ),
    "study's folder": (("report", "study/records"), "study/records: no study here. Did you mean study?"),
    "folder of records": (("rescore", "sudy"), "sudy: there is no such folder. Did you mean study?"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_is_refused_before_torch_is_imported(folder, case):
    arguments, said = REFUSED[case]
    done = subprocess.run([sys.executable, "-c", PROGRAM, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (2, f"{said}\n", "[]\n")
    assert not (folder / "out").exists()


def test_a_task_is_refused_before_torch_is_imported(folder):
    command = [sys.executable, "-c", PROGRAM, *ADAPT, "--model", "smollm2-135m", "--task", "sst3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "[]\n")
    assert done.stderr.startswith("--task sst3: no such task. Did you mean sst2? Choose from reviews, sst2, ")


def test_what_is_there_passes(folder, model):
    settings = {"model": model, "data": folder / "rows.csv", "method": "sft", "adapter": "lora", "out": folder / "new"}
    settings |= dict.fromkeys(("text", "label", "response_kind", "encoding", "eval_data", "task"))
    checks.check_inputs("adapt", settings)
    checks.check_inputs("evaluate", settings | {"adapter": folder / "study" / "adapter", "method": None})
    checks.check_inputs("report", {"folder": folder / "study"})
    checks.check_inputs("adapt", settings | {"model": "gpt2", "out": folder / "study"})


def test_records_that_are_kept_inside_their_study_are_reported_of(folder):
    (folder / "study" / "report").mkdir()
    (folder / "study" / "report" / "records.jsonl.gz").write_bytes(b"")
    checks.check_inputs("report", {"folder": folder / "study" / "report"})


def test_a_large_file_is_left_to_the_command(folder, monkeypatch):
    settings = dict.fromkeys(("text", "label", "response_kind", "encoding")) | {"data": folder / "notes.csv"}
    with pytest.raises(ValueError, match="no column looks like the label"):
        checks.check_inputs("adapt", settings)
    monkeypatch.setattr(checks, "MOST_BYTES", 5)
    checks.check_inputs("adapt", settings)


def test_what_a_killed_command_was_writing_is_no_obstacle(folder, tmp_path):
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / ".partial-01234567-plan.json").write_text("")
    checks.check_output(tmp_path / "begun")


def test_every_file_of_an_adapter_is_looked_for(folder, tmp_path):
    shutil.copytree(folder / "study" / "adapter", tmp_path / "half")
    (tmp_path / "half" / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match="half: no adapter here: adapter_model.safetensors is missing"):
        checks.check_adapter(tmp_path / "half")


def test_names_of_files_are_those_that_are_written():
    from ia2.adapters import adapter
    from ia2.experiments import plan_file

    assert checks.ADAPTER_FILES == (adapter.CONFIGURATION_FILE, adapter.WEIGHTS_FILE)
    assert checks.PLAN_FILE == plan_file.PLAN_FILE


def test_a_file_of_options_names_the_same(capsys, folder):
    (folder / "options.yaml").write_text(json.dumps({"model": "smolm2-135m", "data": "rows.csv", "out": "out"}))
    status, _, err = run(capsys, "adapt", "--config", "options.yaml")
    assert (status, err) == (2, "--model smolm2-135m: there is no such built-in model. Did you mean smollm2-135m?\n")


@pytest.mark.parametrize("check", [checks.check_context, checks.check_experiments, checks.check_method])
def test_a_folder_where_a_file_is_meant_is_called_one(tmp_path, check):
    folder = tmp_path / "study.yaml"
    folder.mkdir()
    with pytest.raises(InputError, match=r"study\.yaml: this is a folder\. Name a file\.$"):
        check({checks.check_method: str(folder), checks.check_experiments: [folder]}.get(check, folder))
