"""The notebooks are run from their first cell to their last, with the built-in model, as a reader would run them."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REAL

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))
BY_NAME = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in NOTEBOOKS}


def program(name):
    """The code of a notebook's cells, in their order."""
    cells = BY_NAME[name]["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def printed(name, folder):
    """What a notebook prints, run by a Python of its own in a folder of its own."""
    completed = subprocess.run([sys.executable, "-c", program(name)], cwd=folder, capture_output=True, text=True)
    assert completed.returncode == 0, completed.stderr
    return completed.stdout


@pytest.mark.parametrize("name", BY_NAME)
def test_outputs_are_cleared(name):
    code = [cell for cell in BY_NAME[name]["cells"] if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


def real_and_slow(test):
    for mark in [pytest.mark.slow, *REAL]:
        test = mark(test)
    return test


@real_and_slow
def test_twenty_rows_become_a_classifier_that_tells_deliveries_from_payments(tmp_path):
    lines = printed("classifier", tmp_path).splitlines()
    answers = [line.split()[0] for line in lines[:4]]
    assert answers == ["delivery", "payment", "delivery", "payment"]
    scores = dict(line.split() for line in lines[4:])
    assert list(scores) == ["ia2-sft", "icl", "zero-shot"]
    assert float(scores["ia2-sft"]) == 1
    assert (tmp_path / "my-classifier" / "adapter_config.json").is_file()


@real_and_slow
def test_the_study_measures_each_method_on_each_set_and_compares_them(tmp_path):
    text = printed("study", tmp_path)
    measured = {
        (int(seed), method): (float(accuracy), float(ece))
        for seed, method, accuracy, ece in re.findall(r"set (\d)  (\S+) +accuracy ([\d.]+)  ECE ([\d.]+)", text)
    }
    assert set(measured) == {(seed, method) for seed in (0, 1) for method in ("icl", "sft", "ia2-sft")}
    # the built-in reviews are easy enough for SmolLM2 to learn them from eight rows
    assert all(measured[seed, method][0] >= 0.9 for seed in (0, 1) for method in ("sft", "ia2-sft"))
    difference = sum(measured[seed, "sft"][1] - measured[seed, "ia2-sft"][1] for seed in (0, 1)) / 2
    (compared,) = re.findall(r"difference=([-\d.e]+)", text)
    # errors are printed with three digits
    assert float(compared) == pytest.approx(difference, abs=0.001)
