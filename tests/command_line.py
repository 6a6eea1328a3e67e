"""Commands as a person gives them, the rows of a small file, and what a command wrote."""

import json
from pathlib import Path
from typing import Any

from ia2.cli import main as cli

THINGS = ["film", "room", "train", "soup", "book", "song", "walk", "shop", "play", "game"]
ROWS = [
    (f"the {thing} was {word}", label)
    for word, label in (("fine", "1"), ("cold", "0"), ("great", "1"), ("dreadful", "0"))
    for thing in THINGS
]


def write_csv(path, rows=ROWS, header="text,label"):
    path.write_text("\n".join([header, *(f"{text},{label}" for text, label in rows)]) + "\n")
    return path


def run(capsys, *arguments):
    """Exit status, stdout and stderr of a command."""
    try:
        status = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    said = capsys.readouterr()
    return status, said.out, said.err


def adapt(capsys, tmp_path, model, file, *more):
    return run(capsys, "adapt", "--model", model, "--data", file, "--out", tmp_path / "out", *more)


def records_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of a folder of one unit, by method; what fits the model's own answers is called so."""
    records = {}
    for path in sorted((folder / "records").glob("*/*.json")):
        record = json.loads(path.read_text())
        fits_answers = record["options"]["label_source"] == "icl-response"
        records[record["method"] + "-icl-response" * fits_answers] = record | {"file": path}
    return records


def predictions_of(folder: Path, method: str) -> list[dict[str, Any]]:
    """What was answered to each row."""
    record = records_of(folder)[method]
    lines = (record["file"].parent / record["predictions"]).read_text().splitlines()
    return [json.loads(line) for line in lines]
