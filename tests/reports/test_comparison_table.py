import io
import os
import pty
import re
import subprocess
import sys
from contextlib import suppress

from rich.console import Console

from ia2.records import Record
from ia2.reports.comparison_table import comparison_table
from ia2.reports.renderings import in_terminal

MEASURED = {
    "n": 200, "ece_binning": "equal-width", "accuracy": 0.925, "accuracy_interval": [0.88, 0.96],
    "ece": 0.0612, "ece_interval": [0.04, 0.09], "asim": 0.9,
}  # fmt: skip


def shown(records):
    console = Console(width=140, record=True, file=io.StringIO())
    console.print(in_terminal(comparison_table(records), console.width))
    return console.export_text()


def row(method, **changes):
    record = {
        "method": method, "task": {"train": "toy", "eval": "toy"}, "n": 8, "lr": 1e-3, "metrics": MEASURED,
        "seconds": {"teacher": 1.0, "train": 2.25, "evaluate": 3.0},
        "model": {"id": "tiny"}, "seed": 0, "adapter": None,
    }  # fmt: skip
    return Record.model_validate(record | changes)


def test_a_row_shows_the_records_numbers():
    text = shown([row("ia2-sft", metrics=MEASURED | {"prompt_tokens": 41.6})])
    line = next(line for line in text.splitlines() if "IA2→SFT" in line)
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells == ["IA2→SFT", "92.5 [88.0, 96.0]", "0.061 [0.040, 0.090]", "0.900", "42", "0.001", "3.2", "3.0"]
    assert "toy, 200 rows, N = 8" in text
    assert "equal-width" in text


def test_scores_among_the_labels_stand_beside_accuracy_and_ece():
    scores = {"macro_f1": 0.875, "balanced_accuracy": 0.9, "nll": 0.25, "brier": 0.125}
    intervals = {f"{name}_interval": [0.0, 1.0] for name in scores}
    records = [row("sft", metrics=MEASURED | scores | intervals), row("ia2")]
    table = comparison_table(records)
    assert table.headings[1:6] == ["accuracy %", "macro-F1 %", "ECE", "NLL", "Brier"]
    assert table.texts[0][1:6] == ["92.5 [88.0, 96.0]", "87.5", "0.061 [0.040, 0.090]", "0.250", "0.125"]
    # a record of before has none
    assert table.texts[1][2:6] == ["–", "0.061 [0.040, 0.090]", "–", "–"]
    assert table.rows[0][2].value == 87.5
    assert "macro-F1, NLL and Brier are over the labels alone" in table.whole_caption


def test_a_scaled_ece_stands_beside_the_others_where_a_record_has_one():
    table = comparison_table([row("sft", metrics=MEASURED | {"scaled_ece": 0.0412, "nll": 0.5}), row("ia2")])
    assert table.headings[3:5] == ["ECE", "scaled ECE"]
    assert [texts[4] for texts in table.texts] == ["0.041", "–"]
    assert "scaled ECE: ECE of the likeliest label" in table.whole_caption
    assert "scaled ECE" not in comparison_table([row("ia2")]).headings


def test_what_was_not_measured_is_a_dash():
    bare = {"n": 0, "accuracy": None, "ece": None, "asim": None}
    whole = row("ia2-sft", metrics=MEASURED | {"prompt_tokens": 41.6})
    text = shown([row("zero-shot", lr=None, metrics=bare, seconds={}, n=0), whole])
    line = next(line for line in text.splitlines() if "zero-shot" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")][1:] == ["–"] * 7


def test_what_no_record_has_a_value_of_has_no_column():
    text = shown([row("adapter", lr=None, metrics=MEASURED | {"asim": None}, seconds={"evaluate": 3.0}, n=0)])
    assert "evaluate s" in text
    assert not any(word in text for word in ("asim", "lr", "train s", "N ="))


def test_texts_have_no_ece_and_mathematics_a_second_accuracy():
    text_metrics = {
        "n": 20, "ece": None, "ece_binning": None, "accuracy": 0.25, "accuracy_interval": [0.1, 0.5],
        "equivalent_accuracy": 0.5, "equivalent_accuracy_interval": [0.3, 0.7], "asim": 0.5,
    }  # fmt: skip
    text = shown([row("sft", metrics=text_metrics)])
    assert "ECE" not in text
    line = next(line for line in text.splitlines() if "SFT" in line)
    cells = [cell.strip() for cell in line.strip("│").split("│")]
    assert cells[1:4] == ["25.0 [10.0, 50.0]", "50.0 [30.0, 70.0]", "0.500"]


IN_A_TERMINAL = """
import fcntl, struct, sys, termios
from ia2.cli.commands import show
from ia2.records import load_records
from pathlib import Path
records = load_records(Path(sys.argv[1]))
for width in (60, 80, 100):
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    print(f"@{width}", flush=True)
    show(records)
"""


def test_in_a_narrow_terminal_the_least_important_columns_go_and_nothing_is_cut(tmp_path):
    for method in ("zero-shot", "icl", "sft", "ia2", "ia2-sft"):
        record = row(method, metrics=MEASURED | {"prompt_tokens": 41.6})
        (tmp_path / "records").mkdir(exist_ok=True)
        record.write(tmp_path / "records" / f"{method}.json", tmp_path / "predictions" / f"{method}.jsonl", [])
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", IN_A_TERMINAL, str(tmp_path)]
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment | {"TERM": "xterm"})
    os.close(theirs)
    told = b""
    with suppress(OSError):  # which is how Linux says that the other end is closed
        while part := os.read(ours, 65536):
            told += part
    assert process.wait() == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", told.decode()).replace("\r", "")
    shown_at = {int(part.split("\n", 1)[0]): part.split("\n", 1)[1] for part in text.split("@")[1:]}
    assert list(shown_at) == [60, 80, 100]
    for width, table in shown_at.items():
        lines = table.splitlines()
        assert max(map(len, lines)) <= width
        assert "…" not in table
        names = [line.strip("│").split("│")[0].strip() for line in lines if line.startswith("│")]
        assert names == ["IA2→SFT", "IA2", "ICL", "SFT", "zero-shot"]
    headings = {width: re.findall(r"accuracy %|ECE|asim|tokens|lr|train s|evaluate s", table.splitlines()[2])
                for width, table in shown_at.items()}  # fmt: skip
    assert headings == {
        60: ["accuracy %", "ECE"],
        80: ["accuracy %", "ECE", "asim", "tokens"],
        100: ["accuracy %", "ECE", "asim", "tokens", "lr", "train s"],
    }
    assert "columns left out to fit the terminal: evaluate s, train s, lr" in " ".join(shown_at[80].split())
