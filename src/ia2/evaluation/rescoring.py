"""Rescoring stored generations after the answer parser has changed, without running a model."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from ia2.errors import InputError
from ia2.evaluation.texts import TextEvaluation
from ia2.records import Metrics, Record, load_records, write_json, write_rows
from ia2.tasks.answers import AnswerKind


@dataclass(frozen=True)
class Rescored:
    """A rescored record."""

    path: Path
    record: Record
    """The record after rescoring."""
    rows: int
    changed: int
    """Number of rows whose stored result changed."""


def rescore(folder: Path) -> list[Rescored]:
    """Extract and compare the answers of every generated-text record again, and rewrite records and predictions.

    Args:
        folder: a folder with `records/`, as written by `ia2 adapt` and `ia2 run`.

    Raises:
        InputError: there are no records of generated texts, or a file is missing or damaged. Nothing is rewritten then.
    """
    records = load_records(folder)
    evaluations = [(record, *answers) for record in records if (answers := _rescored_rows(record, folder)) is not None]
    if not evaluations:
        raise InputError(f"{folder}: these records are of labels; only generated texts can be scored again.")
    rescored = []
    for record, before, evaluation in evaluations:
        rows, path = evaluation.rows(), folder / str(record.file)
        if rows:
            metrics = record.metrics.model_copy(update=evaluation.metrics()).model_dump(exclude_unset=True)
            record = record.model_copy(update={"metrics": Metrics.model_validate(metrics)})
        write_rows(record.rows(folder).resolve(), rows)
        write_json(path, record.as_json())
        changed = sum(old != new for old, new in zip(before, rows, strict=True))
        rescored.append(Rescored(path, record, len(rows), changed))
    return rescored


def _checked_kind(kind: str) -> AnswerKind:
    if kind not in get_args(AnswerKind):
        raise ValueError(f"there is no answer of kind {kind}")
    return cast(AnswerKind, kind)


def _rescored_rows(record: Record, folder: Path) -> tuple[list[dict[str, Any]], TextEvaluation] | None:
    """Return a record's stored rows and their new evaluation; None for a record of labels."""
    kind = record.task.answer
    if kind is None or record.predictions is None:
        return None
    file = folder / str(record.file)
    try:
        lines = record.rows(folder).read_text(encoding="utf-8").split("\n")
        rows = [json.loads(line) for line in lines if line]
        return rows, TextEvaluation.rescored(rows, _checked_kind(kind))
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file, which {file} names. Restore it.") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{file}: this record or its predictions are damaged ({error!r}).") from error
