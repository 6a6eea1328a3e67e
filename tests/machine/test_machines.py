"""Machines as they may be: no home, odd paths and languages, many threads, a full disk, a terminal that is closed."""

import contextlib
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
from command_line import write_csv
from conftest import byte_level_tokenizer, tiny_network
from small_study import content

pytestmark = pytest.mark.slow
PLAIN = {name: value for name, value in os.environ.items() if name not in ("PYTHONUTF8", "IA2_CACHE_DIR")}
PLAIN |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A model and rows."""
    folder = tmp_path_factory.mktemp("inputs")
    tiny_network("llama").save_pretrained(folder / "model")
    byte_level_tokenizer().save_pretrained(folder / "model")
    write_csv(folder / "rows.csv")
    return folder


def arguments(inputs, out):
    return [
        *("-m", "ia2", "adapt", "--model", f"{inputs}/model", "--data", f"{inputs}/rows.csv", "--out", f"{out}"),
        *("--n", "4", "--epochs", "2", "--limit", "8", "--lr", "1e-3", "--no-compare"),
    ]


def adapted(inputs, out, *flags, **environment):
    """The finished command, run in an environment; a variable of the value None isn't set."""
    variables = {**PLAIN, "IA2_CACHE_DIR": f"{out}-cache", **environment}
    return subprocess.run(
        [sys.executable, *flags, *arguments(inputs, out)],
        env={name: value for name, value in variables.items() if value is not None},
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        timeout=600,
    )


def measured(folder):
    """The records, without where files lie, and the adapters."""
    whole = content(folder)
    for name, value in whole.items():
        if name.startswith("records/"):
            value["options"].pop("threads", None)
    return {name: value for name, value in whole.items() if name.startswith(("records/", "adapters/", "adapter/"))}


@pytest.fixture(scope="module")
def calm(inputs, tmp_path_factory):
    out = tmp_path_factory.mktemp("calm") / "out"
    run = adapted(inputs, out)
    assert run.returncode == 0, run.stderr
    return out


@pytest.mark.parametrize(
    ("flags", "environment"),
    [
        ((), {"HOME": None}),
        ((), {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        (("-O",), {}),
        (("-W", "error"), {}),
        ((), {"OMP_NUM_THREADS": "64"}),
    ],
)
def test_the_records_and_the_adapter_are_those_of_a_plain_machine(inputs, tmp_path, calm, flags, environment):
    run = adapted(inputs, tmp_path / "out", *flags, **environment)
    assert run.returncode == 0, run.stderr
    assert "Traceback" not in run.stderr
    found, expected = measured(tmp_path / "out"), measured(calm)
    assert found.keys() == expected.keys()
    if environment.get("OMP_NUM_THREADS") != "64":  # sums may be taken in another order
        assert found == expected


JUMPING = """
import itertools, time

jumps, true, true_ns = itertools.cycle([0, -3600, 366 * 24 * 3600]), time.time, time.time_ns
time.time = lambda: true() + next(jumps)
time.time_ns = lambda: true_ns() + next(jumps) * 10**9
"""


def test_a_clock_that_jumps_changes_nothing(inputs, tmp_path, calm):
    (tmp_path / "clock").mkdir()
    # Python runs a module of this name when it starts
    (tmp_path / "clock" / "sitecustomize.py").write_text(JUMPING)
    path = os.pathsep.join([str(tmp_path / "clock"), PLAIN["PYTHONPATH"]])
    told = subprocess.run(
        [sys.executable, "-c", "import time; print({round(time.time() - time.monotonic(), -3) for _ in range(9)})"],
        env={**PLAIN, "PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert told.stdout.count(",") == 2, "the clock jumps"
    run = adapted(inputs, tmp_path / "out", PYTHONPATH=path)
    assert run.returncode == 0, run.stderr
    assert measured(tmp_path / "out") == measured(calm)
    records = [json.loads(file.read_text()) for file in (tmp_path / "out" / "records").rglob("*.json")]
    seconds = [value for record in records for value in record["seconds"].values() if value is not None]
    seconds += [stage["seconds"] for record in records for stage in record["stages"]]
    assert len(seconds) > 5
    assert all(0 <= value < 600 for value in seconds)
    assert not re.search(r"-\d[\d.:]* ?(?:s|min|h)\b|\d{4,} s\b", run.stderr + run.stdout)


def test_memory_that_runs_out_while_libraries_are_imported_is_said_in_a_sentence(inputs, tmp_path):
    for size in (size * 2**20 for size in (40, 60, 100, 200, 300, 450, 600, 750, 1000)):
        run = subprocess.run(
            [sys.executable, *arguments(inputs, tmp_path / "out")],
            env={**PLAIN, "IA2_CACHE_DIR": str(tmp_path / "cache"), "OPENBLAS_NUM_THREADS": "1"},
            preexec_fn=lambda size=size: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert run.returncode == 1, run.stderr
        (sentence,) = run.stderr.splitlines()
        assert sentence.startswith("ia2 adapt failed: there is not enough memory"), sentence
        assert not (tmp_path / "out").exists()


def test_paths_may_hold_spaces_line_breaks_and_other_alphabets(inputs, tmp_path, calm):
    odd = tmp_path / "a b\nc\té 日本 'q' \"d\""
    odd.mkdir()
    for name in ("model", "rows.csv"):
        (shutil.copytree if name == "model" else shutil.copy)(inputs / name, odd / name)
    run = adapted(odd, odd / "out")
    assert run.returncode == 0, run.stderr
    adapter = "adapter/adapter_model.safetensors"
    assert (odd / "out" / adapter).read_bytes() == (calm / adapter).read_bytes()


def test_a_cache_that_takes_nothing_is_refused_in_a_sentence(inputs, tmp_path):
    run = adapted(inputs, tmp_path / "out", IA2_CACHE_DIR="/proc/ia2")
    assert run.returncode == 2, run.stderr
    assert "/proc/ia2" in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr


@contextlib.contextmanager
def disk(folder, size):
    """A disk of so many bytes, on this folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


POINTS = int(os.environ.get("IA2_FULL_DISKS", "2"))
"""Sizes of disk that are tried, between nothing and enough."""


def test_a_disk_that_is_full_is_named_and_what_follows_ends_as_a_calm_run(inputs, tmp_path, calm):
    needed = 2 * sum(path.stat().st_size for path in calm.parent.rglob("*") if path.is_file())
    full = 0
    for point in range(POINTS):
        with disk(tmp_path / f"disk-{point}", 4096 * (2 + needed * point // POINTS // 4096)) as folder:
            run = adapted(inputs, folder / "out")
            assert "Traceback" not in run.stderr
            if run.returncode:
                full += 1
                assert run.returncode == 1, run.stderr
                assert "disk of this folder is full" in run.stderr.splitlines()[-1], run.stderr
                assert not (folder / "out" / "adapter").exists()
            subprocess.run(["mount", "-o", f"remount,size={4 * needed}", str(folder)], check=True)
            again = adapted(inputs, folder / "out")
            assert again.returncode == 0, again.stderr
            assert measured(folder / "out") == measured(calm)
    assert full


@pytest.mark.parametrize("ending", ["two-interrupts", "closed-terminal"])
def test_who_stops_it_twice_or_closes_the_terminal_leaves_nothing_half_written(inputs, tmp_path, ending):
    command = [sys.executable, *arguments(inputs, tmp_path / "out")]
    command[command.index("--epochs") + 1] = "100000"
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command[0], command, {**PLAIN, "IA2_CACHE_DIR": str(tmp_path / "cache")})
    os.set_blocking(terminal, False)
    deadline = time.monotonic() + 300
    while not (tmp_path / "out" / "plan.json").exists():
        assert time.monotonic() < deadline
        with contextlib.suppress(OSError):
            os.read(terminal, 10_000)
        time.sleep(0.1)
    if ending == "two-interrupts":
        for _ in range(2):
            os.kill(pid, signal.SIGINT)
            time.sleep(0.02)
    else:
        os.close(terminal)
    _, status = os.waitpid(pid, 0)
    # the second may come when all is cleared up and Python ends, and what is said to a closed terminal may fail
    assert os.waitstatus_to_exitcode(status) != 0
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
