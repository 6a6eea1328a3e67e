"""Judging stored generations again after the parser of answers has changed: records in, records out, no model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ia2.errors import InputError
from ia2.evaluation.texts import TextEvaluation
from ia2.records import write_json, write_rows


@dataclass(frozen=True)
class Rescored:
    """A record that was written anew."""

    path: Path
    value: dict[str, Any]
    """The JSON object as it is now."""
    rows: int
    changed: int
    """Rows that are judged otherwise than before."""


def rescore(folder: Path) -> list[Rescored]:
    """Find and compare the answers of every record of generated texts again, and rewrite records and predictions.

    Args:
        folder: one that holds `records/`, as `ia2 adapt` and `ia2 run` write it.

    Raises:
        InputError: there are no records of generated texts, or a file is missing or damaged. Nothing is rewritten then.
    """
    # what is being written, or was when its process was killed, stands in a hidden folder or file
    files = sorted(
        file
        for pattern in ("*.json", "*/*.json")
        for file in (folder / "records").glob(pattern)
        if not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    if not files:
        raise InputError(
            f"{folder}: no records here: records/ holds none. Name a folder that ia2 adapt or ia2 run wrote."
        )
    judged = [_judged(file) for file in files]
    found = [one for one in judged if one is not None]
    if not found:
        raise InputError(f"{folder}: these records are of labels, which have no answers to be found in a text.")
    rescored = []
    for file, value, old, evaluation in found:
        rows = evaluation.rows()
        write_rows((file.parent / value["predictions"]).resolve(), rows)
        write_json(file, value)
        rescored.append(Rescored(file, value, len(rows), sum(a != b for a, b in zip(old, rows, strict=True))))
    return rescored


def _judged(file: Path) -> tuple[Path, dict[str, Any], list[dict[str, Any]], TextEvaluation] | None:
    """A record with its metrics computed anew, its stored rows and the new ones; None where it is one of labels."""
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
        kind = value["task"].get("answer")
        if kind is None or value["predictions"] is None:
            return None
        predictions = file.parent / value["predictions"]
        rows = [json.loads(line) for line in predictions.read_text(encoding="utf-8").split("\n") if line]
        evaluation = TextEvaluation.rescored(rows, kind)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file, which {file} names. Restore it.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: this record or its predictions are damaged ({error!r}).") from error
    if rows:
        value["metrics"] |= evaluation.metrics()
    return file, value, rows, evaluation
