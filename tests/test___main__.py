import subprocess
import sys

from ia2.cli.parser import COMMANDS


def module(*arguments):
    return subprocess.run([sys.executable, "-m", "ia2", *arguments], capture_output=True, text=True, check=False)


def test_the_module_is_the_command():
    done = module("--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: ia2")
    assert all(f" {command} " in done.stdout for command in COMMANDS)


def test_its_exit_status_is_the_commands():
    done = module("report", "nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("nowhere: ")
