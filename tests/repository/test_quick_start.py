"""What docs/quick-start.md says to run is run, with a tiny model in the place of the built-in one."""

import csv
import re
import shlex
from pathlib import Path

from command_line import ROWS, run, write_csv

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "quick-start.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHORTER = {"adapt": ["--lr", "1e-2", "--epochs", "2"], "demo": ["--quick"]}
"""Options that make a command's work less; the built-in model's real work is that of tests/real."""


def commands():
    """The arguments of each command of ia2 on the page, in its order: those of its blocks, and those between words."""
    of_blocks = [line for language, text in BLOCK.findall(PAGE) if not language for line in text.splitlines() if line]
    in_words = re.findall(r"`(ia2 [^`]*)`", PAGE)
    # an option's name after a command's is spoken of, not run
    in_words = [line for line in in_words if not line.split()[-1].startswith("--")]
    asked = [line.removeprefix(".venv/bin/") for line in of_blocks if line != "make demo"] + in_words
    assert all(line.startswith("ia2 ") for line in asked), asked
    return [shlex.split(line)[1:] for line in asked]


def test_every_command_runs(capsys, tmp_path, monkeypatch, built_in):
    monkeypatch.chdir(tmp_path)
    write_csv(Path("rows.csv"))
    write_csv(Path("more.csv"), [(text, "") for text, _ in ROWS[:3]], header="text,note")
    Path("options.yaml").write_text("model: smollm2-135m\ndata: rows.csv\nout: configured\nn: 4\n")
    asked = [["demo", "--out", "ia2-demo"], *commands()]
    assert {name for name, *_ in asked} == {"demo", "adapt", "predict", "report", "rescore"}
    for name, *arguments in asked:
        status, _, err = run(capsys, name, *arguments, *SHORTER.get(name, []))
        # the adapter that the page makes answers with labels, which needn't be judged again
        assert status == (2 if name == "rescore" else 0), err
    with Path("answered.csv").open(newline="") as file:
        answered = list(csv.DictReader(file))
    assert [row["text"] for row in answered] == [text for text, _ in ROWS[:3]]
    assert {row["prediction"] for row in answered} <= {"0", "1"}
    assert Path("configured/adapter/adapter_config.json").is_file()
    for folder in ("ia2-demo/labelled", "my-adapter"):
        assert Path(folder, "report/index.html").is_file()


def test_the_demo_is_what_make_runs():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert "\nBIN := .venv/bin\n" in makefile
    assert re.search(r"^demo:.*\n(?:\t.*\n)*\t\$\(BIN\)/ia2 demo \$\(ARGS\)", makefile, re.MULTILINE)


def test_the_program_runs(tmp_path, monkeypatch, built_in):
    monkeypatch.chdir(tmp_path)
    (program,) = [text for language, text in BLOCK.findall(PAGE) if language == "python"]
    program = program.replace('method="ia2-sft"', 'method="ia2-sft", learning_rates=(1e-2,), epochs=2')
    texts, labels = zip(*ROWS, strict=True)
    exec(program, {"texts": texts, "labels": labels, "more_texts": ["a warm film"]})
    assert Path("my-classifier/taught.json").is_file()
