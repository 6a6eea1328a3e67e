"""Records: one JSON object per evaluated adapter or baseline, the source of every table and figure."""

import importlib.metadata
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ia2.cache import written_whole
from ia2.errors import InputError
from ia2.record_metrics import Count, Finite, Part
from ia2.record_metrics import Metrics as Metrics

LIBRARIES = ("ia2", "torch", "transformers", "peft", "datasets", "tokenizers", "safetensors", "scikit-learn")
MOST_BYTES = 16 * 2**20
"""Maximum size of a record; records of long training runs have some tens of kilobytes."""
FOLDER = "records"
"""Subfolder of an output folder with the records, directly or in a folder for each unit of a study."""


class ModelRecord(Part):
    """The evaluated model."""

    id: str
    """The name used to load it."""
    revision: str | None = None
    """Commit on the hub."""
    sha256: str | None = None
    """Digest of the model's file or folder."""
    dtype: str | None = None
    device: str | None = None
    quantisation: str | None = None
    """4bit, 8bit or another method, if the weights are quantised."""
    attention: str | None = None
    """Attention implementation, by its name in transformers."""


class TaskRecord(Part):
    """The training task and the evaluation task."""

    train: str | None
    """The training task; null if nothing was trained, or the task is unknown."""
    eval: str
    """The evaluation task."""
    source: str | None = None
    """Provenance of the evaluation rows."""
    labels: list[str] = Field(default_factory=list)
    answer: str | None = None
    """How the answer is extracted from a text; null if responses are labels."""


class AdapterRecord(Part):
    """The evaluated adapter; further sizes of its kind are extra fields."""

    kind: str
    rank: int | None = None
    alpha: int | Finite | None = None
    modules: list[str] | None = None
    path: str | None = None
    """Path of the adapter in the study's folder."""

    @property
    def sizes(self) -> dict[str, Any]:
        """All fields, including extra ones."""
        return self.model_dump()


class StageRecord(Part):
    """How a stage of training went."""

    objective: str = ""
    steps: int = 0
    """Optimiser steps taken."""
    stopped_by: str | None = None
    train_losses: list[Finite | None] = Field(default_factory=list)
    """The loss of each step's batch; null if it wasn't finite."""
    dev_losses: list[Annotated[tuple[int, Finite | None], Field(strict=False)]] = Field(default_factory=list)
    """Step and dev loss of each dev evaluation."""


class Options(Part):
    """Settings, chosen by the user or by default; all others are extra fields."""

    unit: str | None = None
    """The unit of a study."""
    set_n: int | None = None
    label_source: str | None = None
    beta: Finite | None = None
    dev_loss: Finite | None = None
    start_seed: Count | None = None
    """Seed of the adapters' initial values, if it differs from the seed of the rows."""
    order_seed: Count | None = None
    """Seed of orders, if it differs from the seed of the rows."""


class Record(BaseModel):
    """An evaluation: its metrics, what was evaluated, and how; the fields are the keys of the JSON object.

    Example:
        >>> record = Record(
        ...     method="icl", model={"id": "tiny"}, task={"train": None, "eval": "toy"}, n=4, seed=0, lr=None,
        ...     adapter=None, metrics={"n": 8, "accuracy": 0.5}, seconds={"evaluate": 1.5},
        ... )
        >>> record.metrics.accuracy, record.metrics.get("ece")
        (0.5, None)
    """

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, populate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    method: str
    """`zero-shot`, `icl`, `context`, `adapter`, or the method that trained the adapter."""
    model: ModelRecord
    task: TaskRecord
    n: Count
    """Number of training rows or demonstrations; 0 if there were none."""
    seed: Count | None
    """Seed of the few-shot set, with which its rows were drawn."""
    lr: Finite | None
    """The learning rate; null if nothing was trained."""
    adapter: AdapterRecord | None
    """The evaluated adapter; null if there is none."""
    metrics: Metrics
    seconds: dict[str, Finite] = {}
    """Wall-clock seconds by phase."""
    stages: list[StageRecord] = []
    """Losses and steps of each training stage."""
    options: Options = Options()
    notes: list[str] = []
    """Messages about choices made automatically."""
    versions: dict[str, str] = Field(default_factory=lambda: versions())
    """Versions of Python and of the libraries used."""
    predictions: str | None = None
    """Path of the predictions file, relative to the record's folder."""
    file: str | None = Field(default=None, exclude=True)
    """Path of the record's file, relative to the output folder."""

    @property
    def diverged(self) -> bool:
        """Whether training diverged, so that there was no adapter to evaluate."""
        return self.metrics.accuracy is None and any(stage.stopped_by == "diverged" for stage in self.stages)

    @property
    def seeds(self) -> tuple[int, int, int]:
        """Seeds of rows, initial values and orders, which distinguish records of one method and setting.

        All three are the set's seed unless they were chosen separately; 0 if nothing was drawn.
        """
        seed = self.seed or 0
        start, order = self.options.start_seed, self.options.order_seed
        return seed, seed if start is None else start, seed if order is None else order

    @classmethod
    def read(cls, path: Path, folder: Path | None = None) -> "Record":
        """Read a record from a file.

        Args:
            path: the record's file.
            folder: the output folder that it belongs to.

        Raises:
            InputError: the file can't be read, or isn't a valid record; the error names the invalid field.
        """
        try:
            if (size := path.stat().st_size) > MOST_BYTES:
                raise ValueError(f"it has {size / 2**20:.0f} MiB, and no record has more than {MOST_BYTES // 2**20}")
            value = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: this record can't be read ({error}).") from error
        if folder is None:
            return cls.of(value, path)
        record = cls.of(value, path, path.relative_to(folder).as_posix())
        adapter = record.adapter.path if record.adapter is not None else None
        for named in (path.parent / (record.predictions or ""), folder / (adapter or "")):
            if not named.resolve().is_relative_to(folder.resolve()):
                raise InputError(f"{path}: this record names {named}, which lies outside {folder} and is not read.")
        return record

    @classmethod
    def of(cls, value: Any, path: Path, file: str | None = None) -> "Record":
        """Return the record of a JSON value.

        Args:
            value: the value.
            path: the file that it was read from, for the error.
            file: the record's file, relative to the output folder.

        Raises:
            InputError: the value isn't a valid record; the error names the invalid field.
        """
        if not isinstance(value, dict):
            raise InputError(f"{path}: this record can't be read (it is not a JSON object).")
        # early records of diverged adapters lack metrics; missing versions mustn't become those installed now
        try:
            record = cls.model_validate({"versions": {}} | value | {"metrics": value.get("metrics") or {}})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            wrong = f"{field} is missing" if first["type"] == "missing" else f"{field}: {first['msg']}"
            raise InputError(f"{path}: this record can't be read ({wrong}).") from error
        return record.model_copy(update={"file": file}) if file is not None else record

    def as_json(self) -> dict[str, Any]:
        """Return the record as a JSON object.

        Raises:
            ValueError: a number is NaN or infinite, which JSON can't represent.
        """
        whole = self.model_dump(by_alias=True)
        # parts only keep the fields that were set
        set_fields = self.model_dump(by_alias=True, exclude_unset=True)
        # pydantic's JSON encoder would silently write null for NaN and infinity
        value: dict[str, Any] = json.loads(json.dumps(whole | set_fields, allow_nan=False))
        return value

    def write(self, path: Path, predictions: Path, rows: Iterable[Mapping[str, Any]]) -> "Record":
        """Write the record and its predictions, one JSON line per row; return the record as written.

        Args:
            path: the record's file.
            predictions: the predictions file, which the record names relative to its own folder.
            rows: the prediction of each row.
        """
        write_rows(predictions, rows)
        named = Path(os.path.relpath(predictions, path.parent)).as_posix()
        record = self.model_copy(update={"predictions": named})
        write_json(path, record.as_json())
        return record

    def rows(self, folder: Path) -> Path:
        """Return the path of the predictions file, for a record read from an output folder."""
        assert self.file is not None, "it was read from a folder"
        assert self.predictions is not None, "it names its predictions"
        return (folder / self.file).parent / self.predictions


def load_records(folder: Path, unit: str | None = None) -> list[Record]:
    """Read all records of an output folder, or those of one unit of a study.

    Args:
        folder: the output folder of `ia2 run`, `ia2 adapt` or `ia2 demo`.
        unit: the unit's name; by default all units, and records without a unit.

    Raises:
        InputError: there are no records, or one can't be read.
    """
    files = record_files(folder, unit)
    if not files:
        raise InputError(f"{folder}: no records here: {FOLDER}/ holds none. Name a folder that ia2 run wrote.")
    return [Record.read(file, folder) for file in files]


def record_files(folder: Path, unit: str | None = None) -> list[Path]:
    """Return the files of these records, sorted by name."""
    patterns = ("*.json", "*/*.json") if unit is None else (f"{unit}/*.json",)
    every = {file for pattern in patterns for file in (folder / FOLDER).glob(pattern)}
    # hidden files and folders are unfinished writes, perhaps of a killed process
    return sorted(file for file in every if not (file.parent.name.startswith(".") or file.name.startswith(".")))


def without_nan(value: Any) -> Any:
    """Return a value with NaN and infinity replaced by None, since JSON can't represent them.

    Example:
        >>> without_nan({"dev_losses": ((2, float("nan")),)})
        {'dev_losses': [[2, None]]}
    """
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object atomically.

    Raises:
        ValueError: a number is NaN or infinite, which JSON can't represent.
    """
    with written_whole(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write predictions atomically, one JSON object per line."""
    with written_whole(path) as partial:
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
        partial.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries in `LIBRARIES`."""
    libraries = {library: importlib.metadata.version(library) for library in LIBRARIES}
    return {"python": platform.python_version(), **libraries}
