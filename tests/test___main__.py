import os
import signal
import subprocess
import sys

import pytest
from study_records import record, write_study

from ia2.cli.parser import COMMANDS


def module(*arguments):
    return subprocess.run([sys.executable, "-m", "ia2", *arguments], capture_output=True, text=True, check=False)


def test_the_module_is_the_command():
    done = module("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ia2")
    assert all(f" {command} " in done.stdout for command in COMMANDS)


@pytest.mark.parametrize("arguments", [("tasks",), ("report", "study"), ("report", "study", "--format", "csv")])
def test_a_reader_that_goes_away_is_no_fault(tmp_path, arguments):
    write_study(tmp_path / "study", [record("icl", 0.5, seed=seed) for seed in (0, 1)])
    command = [sys.executable, "-m", "ia2", *arguments]
    # as in ia2 report study | head -0: a pipe whose other end is closed before anything is printed
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False, cwd=tmp_path)
    os.close(writing)
    assert done.stderr == ""
    assert done.returncode == 128 + signal.SIGPIPE


def test_without_a_standard_output_a_command_does_what_it_does():
    command = ["sh", "-c", 'exec "$0" -m ia2 tasks >&-', sys.executable]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_its_exit_status_is_the_commands():
    done = module("report", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("nowhere: ")
