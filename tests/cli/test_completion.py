import shutil
import subprocess

import pytest
from command_line import run

from ia2.cli.completion import completion_script
from ia2.cli.parser import COMMANDS, LISTS, build_parser

BASH = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_shtab_ia2
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("completion")
    for shell in ("bash", "zsh", "fish"):
        (folder / shell).write_text(completion_script(build_parser(), shell))
    return folder


def completed(scripts, shell, *words, cwd=None):
    """What a shell would offer for the last of these words."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} isn't installed")
    if shell == "bash":
        command = ["bash", "-c", BASH, "bash", str(scripts / shell), *words]
    else:
        command = ["fish", "--no-config", "-c", f"source {scripts / shell}; complete -C {' '.join(words)!r}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd)
    return [line.partition("\t")[0].strip() for line in done.stdout.splitlines()]


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_shell_completes_commands_options_and_their_values(scripts, tmp_path, shell):
    (tmp_path / "rows.csv").write_text("")
    assert completed(scripts, shell, "ia2", "ada") == ["adapt"]
    assert set(completed(scripts, shell, "ia2", "adapt", "--label")) == {"--label", "--label-scoring", "--label-source"}
    assert completed(scripts, shell, "ia2", "adapt", "--draw", "r") == ["random"]
    assert completed(scripts, shell, "ia2", "adapt", "--adapter", "ver") == ["vera"]
    assert completed(scripts, shell, "ia2", "adapt", "--method", "sft-s") == ["sft-soft"]
    assert completed(scripts, shell, "ia2", "adapt", "--data", "row", cwd=tmp_path) == ["rows.csv"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_one_of_its_shell_and_knows_every_command(scripts, shell):
    script = (scripts / shell).read_text()
    assert all(command in script for command in (*COMMANDS, *LISTS))
    assert "typing" not in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n", str(scripts / shell)], check=True)


def test_the_option_prints_the_script(capsys, scripts):
    assert run(capsys, "--completion", "fish") == (0, (scripts / "fish").read_text() + "\n", "")


def test_another_shell_is_refused(capsys):
    status, out, err = run(capsys, "--completion", "tcsh")
    assert (status, out) == (2, "")
    assert err == "--completion tcsh: expected one of bash, zsh, fish.\nSee ia2 --help.\n"
