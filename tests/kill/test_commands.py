"""Commands killed at random moments: outputs are whole or absent, and what goes on ends as a calm run does.

`make kill` kills each command 100 times; IA2_KILLS says how often otherwise.
"""

import multiprocessing
import os
import random
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from command_line import THINGS, write_csv
from conftest import tiny_language_model
from small_study import content

from ia2.adapters.adapter import Adapter
from ia2.cli.main import main
from ia2.records import Record, record_files

KILLS = int(os.environ.get("IA2_KILLS", "5"))
PATIENCE = 600
"""Seconds that a command may take before it counts as one that hangs."""
PROCESSES = multiprocessing.get_context("forkserver")
# what takes seconds to import is imported once, by the process that the others are copies of
PROCESSES.set_forkserver_preload(["ia2.cli.commands", "ia2.cli.study", "ia2.cli.predict"])


def _go(arguments: list[str], cache: Path, log: Path) -> None:
    os.environ |= {"IA2_CACHE_DIR": str(cache), "OMP_NUM_THREADS": "1"}
    with log.open("a") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        sys.exit(main(arguments))


def started(arguments: list[str], folder: Path) -> Any:
    """A command in a process of its own, with a cache of its own."""
    process = PROCESSES.Process(target=_go, args=(arguments, folder / "cache", folder / "log"))
    process.start()
    return process


def finished(arguments: list[str], folder: Path) -> float:
    """The seconds that a command takes which nobody kills."""
    begun = time.monotonic()
    process = started(arguments, folder)
    process.join(PATIENCE)
    if process.is_alive():
        process.kill()
        pytest.fail(f"{arguments} hangs")
    assert process.exitcode == 0, (folder / "log").read_text()
    return time.monotonic() - begun


def files(folder: Path) -> Mapping[str, Any]:
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}


def check_study(folder: Path, _whole: Mapping[str, Any]) -> None:
    """Every record, its predictions and its adapter can be read."""
    for file in record_files(folder):
        record = Record.read(file, folder)
        assert len(record.rows(folder).read_text().splitlines()) == record.metrics.n
        if record.adapter is not None:
            Adapter.load(folder / str(record.adapter.path))


def check_files(folder: Path, whole: Mapping[str, Any]) -> None:
    """What is there is as it is in the end, but for the journal that goes on."""
    for name, value in files(folder).items():
        assert name.startswith(".") or value == whole[name]


@dataclass(frozen=True)
class Case:
    """A command, and what it writes into a folder."""

    arguments: Callable[[Path, Path], list[str]]
    """Of the folder with what it reads, and the one that it writes to."""
    written: Callable[[Path], Mapping[str, Any]]
    check: Callable[[Path, Mapping[str, Any]], None]
    """Of a folder whose command was killed, and of all that it is to hold."""


CASES = {
    "adapt": Case(
        lambda inputs, out: [
            *("adapt", "--model", f"{inputs}/model", "--data", f"{inputs}/rows.csv", "--out", f"{out}"),
            *("--n", "4", "--epochs", "4", "--limit", "8", "--lr", "1e-3"),
        ],
        content,
        check_study,
    ),
    "run": Case(lambda inputs, out: ["run", f"{inputs}/study.yaml", "--out", f"{out}"], content, check_study),
    "predict": Case(
        lambda inputs, out: [
            *("predict", "--adapter", f"{inputs}/adapted/adapter", "--data", f"{inputs}/queries.csv"),
            *("--out", f"{out}/answers.csv"),
        ],
        files,
        check_files,
    ),
    "report": Case(
        lambda inputs, out: ["report", f"{inputs}/adapted", "--format", "html", "--out", f"{out}"], files, check_files
    ),
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A model, rows, a study, and an adapter."""
    folder = tmp_path_factory.mktemp("inputs")
    model = tiny_language_model()
    model.network.save_pretrained(folder / "model")
    model.tokenizer.save_pretrained(folder / "model")
    write_csv(folder / "rows.csv")
    write_csv(
        folder / "queries.csv", [(f"{number}", f"the {THINGS[number % 10]} was so") for number in range(60)], "id,text"
    )
    study = {
        **{"name": "killed", "models": [f"{folder}/model"], "tasks": ["reviews"], "n": [4], "sets": 2, "rows": 6},
        **{"asim_rows": 4, "label_scoring": "whole", "training": {"epochs": 2}, "learning_rates": [1e-3]},
        **{"methods": ["zero-shot", "icl", "sft", "ia2-sft"]},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    finished(CASES["adapt"].arguments(folder, folder / "adapted"), folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_a_command_that_was_killed_again_and_again_ends_as_a_calm_one(name, inputs, tmp_path):
    case, chance = CASES[name], random.Random(name)
    calm, torn = tmp_path / "calm", tmp_path / "torn"
    for folder in (calm, torn):
        (folder / "cache").mkdir(parents=True)
    seconds = finished(case.arguments(inputs, calm / "out"), calm)
    whole = case.written(calm / "out")
    assert whole
    arguments = case.arguments(inputs, torn / "out")
    kills = 0
    while kills < KILLS:
        process = started(arguments, torn)
        process.join(chance.uniform(0, seconds))
        if process.is_alive():
            process.kill()
            process.join()
            kills += 1
            case.check(torn / "out", whole)
            if name == "predict" and (torn / "out" / "answers.csv").exists():
                # it was killed with everything done but the end of its process: the file is not written again
                started(arguments, torn).join(PATIENCE)
                assert "this already exists and is not overwritten" in (torn / "log").read_text().splitlines()[-1]
                shutil.rmtree(torn / "out")
            continue
        assert process.exitcode == 0, (torn / "log").read_text()
        assert case.written(torn / "out") == whole
        for part in ("out", "cache"):
            shutil.rmtree(torn / part)
        (torn / "cache").mkdir()
    finished(arguments, torn)
    assert case.written(torn / "out") == whole
