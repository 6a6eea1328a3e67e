import errno
import importlib.metadata
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from command_line import adapt, records_of, run

from ia2.cache import written_whole
from ia2.cli import main
from ia2.errors import ChangedFieldsError, FieldError, InputError
from ia2.experiments import loading


def test_help_needs_neither_torch_nor_transformers():
    program = "import sys; from ia2.cli.main import main\ntry: main(['--help'])\nfinally: print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert re.search(r"^ +adapt +Train an adapter on labelled rows", done.stdout, flags=re.MULTILINE)
    loaded = done.stdout.splitlines()[-1]
    assert not re.search(r"'(torch|transformers|pydantic|peft|datasets|matplotlib|scipy|sklearn|shtab)'", loaded)


def test_help_takes_less_than_a_third_of_the_time_to_import_both():
    def seconds(*command):
        timed = "import subprocess, sys, time; t = time.perf_counter(); subprocess.run(sys.argv[1:], check=True, "
        timed += "stdout=subprocess.DEVNULL); print(time.perf_counter() - t)"
        done = subprocess.run([sys.executable, "-c", timed, *command], capture_output=True, text=True, check=True)
        return float(done.stdout)

    helping = [sys.executable, "-c", "from ia2.cli.main import main; main(['--help'])"]
    importing = [sys.executable, "-c", "import torch, transformers; transformers.AutoModelForCausalLM"]
    assert min(seconds(*helping) for _ in range(2)) < min(seconds(*importing) for _ in range(2)) / 3


def test_options_can_come_from_a_file_and_the_command_line_has_the_last_word(capsys, tmp_path, model, file):
    settings = {"model": model, "data": str(file), "out": str(tmp_path / "out"), "lr": [1e-3], "compare": False, "n": 6}
    (tmp_path / "options.yaml").write_text(json.dumps(settings))
    status, _, err = run(capsys, "adapt", "--config", tmp_path / "options.yaml", "--n", "4")
    assert status == 0, err
    record = records_of(tmp_path / "out")["ia2-sft"]
    assert (record["n"], record["lr"]) == (4, 1e-3)


def test_a_failure_of_ours_has_status_one_and_its_traceback_on_demand(capsys, tmp_path, monkeypatch, file):
    def fails(*_arguments, **_keywords):
        raise RuntimeError("the disk is on fire\nand more")

    monkeypatch.setattr(loading, "load_model", fails)
    status, _, err = adapt(capsys, tmp_path, "smollm2-135m", file)
    assert status == 1
    assert "RuntimeError: the disk is on fire" in err
    assert "Traceback" not in err
    status, _, err = adapt(capsys, tmp_path, "smollm2-135m", file, "--debug")
    assert status == 1
    assert "Traceback" in err


def test_a_full_disk_has_status_one_and_is_said_in_one_sentence(capsys, tmp_path, monkeypatch, file):
    def fails(*_arguments, **_keywords):
        with written_whole(tmp_path / "cache" / "file"):
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(loading, "load_model", fails)
    status, _, err = adapt(capsys, tmp_path, "smollm2-135m", file)
    assert status == 1
    assert err.splitlines()[-1].startswith(f"{tmp_path / 'cache'}: the disk of this folder is full (")
    assert "bug in ia2" not in err


@pytest.mark.parametrize("taken_for", [None, InputError("this folder can't be made")], ids=["itself", "an input"])
def test_a_disk_that_is_full_for_anything_else_is_said_too(capsys, tmp_path, monkeypatch, file, taken_for):
    def fails(*_arguments, **_keywords):
        full = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "out" / "locks" / "unit"))
        if taken_for is None:
            raise full
        raise taken_for from full

    monkeypatch.setattr(loading, "load_model", fails)
    status, _, err = adapt(capsys, tmp_path, "smollm2-135m", file)
    assert status == 1
    assert err.splitlines()[-1].startswith(f"{tmp_path / 'out' / 'locks'}: the disk of this folder is full (")
    assert "Make room" in err
    assert "bug in ia2" not in err


def test_nothing_half_written_is_left_behind(capsys, tmp_path, model, file, monkeypatch):
    def stopped(*_arguments, **_keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr("ia2.experiments.unit_training.train_all", stopped)
    status, _, err = adapt(capsys, tmp_path, model, file)
    assert status == 130
    assert "Stopped" in err
    assert {path.name for path in tmp_path.iterdir()} <= {"cache", "rows.csv"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_the_process_leaves_nothing_half_written(tmp_path, model, file, number):
    command = [
        sys.executable,
        "-c",
        "import sys; from ia2.cli.main import main; sys.exit(main())",
        "adapt",
        "--model",
        model,
    ]
    command += ["--data", str(file), "--out", str(tmp_path / "out"), "--lr", "1e-3", "--epochs", "100000"]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / "out" / "plan.json").exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]


def test_a_list_in_a_file_of_options_must_be_one(capsys, tmp_path, file):
    (tmp_path / "options.yaml").write_text("lr: 0.001\n")
    status, _, err = adapt(capsys, tmp_path, "smollm2-135m", file, "--config", tmp_path / "options.yaml")
    assert status == 2
    assert "lr: [1e-3, 1e-4]" in err


def test_the_version_is_told(capsys):
    status, out, _ = run(capsys, "--version")
    assert status == 0
    assert importlib.metadata.version("ia2") in out


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FieldError("learning_rates", -1.0, "this must be positive."), "--lr -1: this must be positive."),
        (FieldError("first_seed", 0.5, "no."), "--seed 0.5: no."),
        (FieldError("max_new_tokens", 0, "no."), "--max-new-tokens 0: no."),
        (FieldError("context", "/far/away/context.txt", "no."), "--context context.txt: no."),
        (FieldError("stop", None, "no."), "--stop: no."),
        (FieldError("colour", "red", "no."), "colour red: no."),
        (InputError("rows.csv: no."), "rows.csv: no."),
        (ChangedFieldsError(["rows", "colour", "epochs"], "not {fields}."), "not --limit, colour, --epochs."),
    ],
)
def test_a_field_is_said_by_the_flag_that_stands_for_it(capsys, tmp_path, monkeypatch, file, error, said):
    def refuse(*_arguments):
        raise error

    monkeypatch.setattr("ia2.cli.commands.study_of_adapt", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "context.txt").write_text("Judge.")
    status, _, err = adapt(capsys, tmp_path, "smollm2-135m", file, "--context", "context.txt")
    assert (status, err) == (2, f"{said}\n")


def caused(error, cause):
    """An error that is raised because of another one."""
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] DefaultCPUAllocator: can't allocate memory: you tried"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        caused(InputError("rows.parquet: this is no Parquet file (malloc of size 9 failed)."), MemoryError("malloc")),
        caused(RuntimeError("Failed to import transformers.models.llama"), MemoryError()),
    ],
)
def test_memory_that_runs_out_is_named(capsys, tmp_path, monkeypatch, file, error):
    def fails(*_arguments, **_keywords):
        raise error

    monkeypatch.setattr(loading, "load_model", fails)
    status, _, err = adapt(capsys, tmp_path, "smollm2-135m", file)
    assert status == 1
    sentence = err.splitlines()[-1]
    assert sentence.startswith("ia2 adapt failed: there is not enough memory on this machine or its device (")
    assert "bug in ia2" not in err


def test_who_stops_it_again_does_not_cut_the_clearing_up_short():
    cleared = []
    with pytest.raises(KeyboardInterrupt), main._signals_unwind():
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                os.kill(os.getpid(), number)
            time.sleep(0.01)
            cleared.append(1)
    assert cleared == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_nohup_has_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with main._signals_unwind():
            os.kill(os.getpid(), signal.SIGHUP)
            time.sleep(0.01)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("encoding", "written"), [("ascii", "→ä".encode()), ("latin-1", b"\\u2192\xe4"), ("utf-8", "→ä".encode())]
)
def test_every_character_can_be_printed_whatever_the_language_is(monkeypatch, encoding, written):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    main._take_every_character()
    sys.stdout.write("→ä")
    sys.stdout.flush()
    assert raw.getvalue() == written
