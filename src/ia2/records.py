"""Records: one JSON object for each adapter or baseline that was measured. Every table and figure is made from them."""

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ia2.cache import written_whole
from ia2.tasks.task import Task

SCHEMA = 1
LIBRARIES = ("ia2", "torch", "transformers", "peft", "datasets", "tokenizers", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Record:
    """What was measured, of what, and how it came about; the fields are the keys of the JSON object."""

    method: str
    """`zero-shot`, `icl`, or the method that trained the adapter."""
    model: Mapping[str, Any]
    """Its id, revision or file hash, dtype and device."""
    task: Mapping[str, Any]
    """`train` and `eval`: the names of what was trained and measured on; where the rows came from, and their labels, or
    how the answer is found in a text."""
    n: int
    """Training rows or demonstrations; 0 where there were none."""
    seed: int | None
    """Which set of that size."""
    lr: float | None
    """The learning rate; null where nothing was trained."""
    adapter: Mapping[str, Any] | None
    """Kind, rank, modules and path; null where there is none."""
    metrics: Mapping[str, Any]
    """`accuracy`, `ece` and the rest, each with its 95 % interval."""
    seconds: Mapping[str, float]
    """Wall-clock seconds by phase."""
    stages: tuple[Mapping[str, Any], ...] = ()
    """Losses and steps of each training stage."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """What was chosen, by the person or for them."""
    notes: tuple[str, ...] = ()
    """What was said about those choices."""

    def as_json(self) -> dict[str, Any]:
        """The JSON object, with the schema's number and the versions that computed it."""
        stages = tuple(_without_nan(dict(stage)) for stage in self.stages)
        return {"schema": SCHEMA, **vars(self), "stages": stages, "versions": versions()}

    def write(self, path: Path, predictions: Path, rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
        """Write the record and, a JSON line for each row, its predictions; return the JSON object.

        Args:
            path: the record's file.
            predictions: the predictions' file, which the record names relative to its own folder.
            rows: what was answered to each query.
        """
        write_rows(predictions, rows)
        value = self.as_json() | {"predictions": Path(os.path.relpath(predictions, path.parent)).as_posix()}
        write_json(path, value)
        return value


def _without_nan(value: Any) -> Any:
    """The same with null where a loss was no finite number, which JSON can't say."""
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_without_nan(part) for part in value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a record's JSON object, whole or not at all."""
    with written_whole(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write predictions, one JSON object a line, whole or not at all."""
    with written_whole(path) as partial:
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
        partial.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def task_record(task: Task, *, trained_on: str | None) -> dict[str, Any]:
    """What a record says of the rows that were measured, and of the task that was trained on, if any was."""
    return {
        "train": trained_on,
        "eval": task.name,
        "source": task.source,
        "labels": list(task.labels),
        "answer": task.answer if task.response_kind == "text" else None,
    }


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that computed something."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        found[library] = importlib.metadata.version(library)
    return found
