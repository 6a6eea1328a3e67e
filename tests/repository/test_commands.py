"""What the other pages say to run: every command is understood, and those of three pages are run with a tiny model.

The quick start and the page on serving have modules of their own.
"""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from command_line import ROWS, run, write_csv

from ia2.cli.main import build_parser
from ia2.tasks.reviews import INSTRUCTION

REPOSITORY = Path(__file__).parents[2]
PAGES = {
    path.stem: path.read_text(encoding="utf-8")
    for path in [REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")]
}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ )?(?:\.venv/bin/)?ia2 (.*)$", re.MULTILINE)
FILE = re.compile(r"^cat > (\S+) <<'END'\n(.*?)^END$", re.DOTALL | re.MULTILINE)
EXITS = {"--version", "--help"}
"""Options behind which nothing is read."""
NOT_RUN = {"--track": "needs a tracker: tests/experiments/test_trackers.py", "--cluster": "needs Ray: test_cluster.py"}


def commands(name):
    """The arguments of each command of ia2 in a page's blocks, in their order."""
    blocks = "\n".join(text for language, text in BLOCK.findall(PAGES[name]) if language in ("", "sh"))
    return [shlex.split(line, comments=True) for line in COMMAND.findall(blocks)]


@pytest.mark.parametrize("name", [name for name in PAGES if commands(name)])
def test_every_command_is_understood(name):
    for arguments in commands(name):
        if not EXITS.intersection(arguments):
            build_parser().parse_args(arguments)


def test_pages_with_commands_are_seen():
    assert {name for name in PAGES if commands(name)} >= {"README", "quick-start", "install", "studies", "contexts"}


def test_the_files_of_your_own_data_are_read(capsys, tmp_path, monkeypatch, built_in):
    monkeypatch.chdir(tmp_path)
    for path, text in FILE.findall(PAGES["your-own-data"]):
        Path(path).write_text(text, encoding="utf-8")
    asked = commands("your-own-data")
    assert [Path(part).stem for arguments in asked for part in arguments if part.endswith(".jsonl")] == [
        "tickets",
        "chat",
    ]
    for arguments in asked:
        chat = "chat.jsonl" in arguments
        status, _, err = run(capsys, *arguments)
        # the tiny model has no chat template, which conversations need
        assert status == (2 if chat else 0), err
        assert not chat or "chat template" in err


@pytest.mark.slow
def test_the_commands_about_the_teacher_run(capsys, tmp_path, monkeypatch, built_in):
    monkeypatch.chdir(tmp_path)
    instruction = INSTRUCTION.relative_to(REPOSITORY)
    instruction.parent.mkdir(parents=True)
    shutil.copy(INSTRUCTION, instruction)
    write_csv(Path("rows.csv"))
    Path("more.csv").write_text("text\n" + "".join(f"{text} again\n" for text, _ in ROWS[:3]))
    for arguments in commands("contexts"):
        shorter = ["--lr", "1e-2", "--epochs", "1", "--no-compare"] if arguments[0] == "adapt" else []
        status, _, err = run(capsys, *arguments, *shorter)
        assert status == 0, err
    assert Path("adapted/adapter/adapter_config.json").is_file()


@pytest.mark.slow
def test_the_commands_of_a_study_run(capsys, tmp_path, monkeypatch, built_in):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(REPOSITORY / "experiments", "experiments")
    for arguments in commands("studies"):
        if not NOT_RUN.keys() & set(arguments):
            status, _, err = run(capsys, *arguments)
            assert status == 0, err
    assert Path("page/index.html").is_file()
    assert list(Path("paper").glob("*.tex"))
