"""Records: one JSON object for each adapter or baseline that was measured. Every table and figure is made from them."""

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
"""How large a record may be; those of long training have some tens of kilobytes."""
FOLDER = "records"
"""Where a folder of measurements holds its records: directly, or in a folder for each unit of a study."""


class ModelRecord(Part):
    """The model that was measured."""

    id: str
    """The name used to load it."""
    revision: str | None = None
    """The hub's commit."""
    sha256: str | None = None
    """The digest of its file or folder."""
    dtype: str | None = None
    device: str | None = None
    quantisation: str | None = None
    """4bit, 8bit or another method, where its weights are quantised."""
    attention: str | None = None
    """How attention was computed, as transformers calls it."""


class TaskRecord(Part):
    """What was trained on, and what was measured."""

    train: str | None
    """The training task; null if nothing was trained, or it isn't known."""
    eval: str
    """The evaluation task."""
    source: str | None = None
    """Where its rows came from."""
    labels: list[str] = Field(default_factory=list)
    answer: str | None = None
    """How the answer is extracted from a text; null if responses are labels."""


class AdapterRecord(Part):
    """The adapter that was evaluated; other sizes of its kind are extra fields."""

    kind: str
    rank: int | None = None
    alpha: int | Finite | None = None
    modules: list[str] | None = None
    path: str | None = None
    """Its path in the study's folder."""

    @property
    def sizes(self) -> dict[str, Any]:
        """All that is said of it."""
        return self.model_dump()


class StageRecord(Part):
    """How a stage of training went."""

    objective: str = ""
    steps: int = 0
    """Optimiser steps that were taken."""
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
    """The seed of adapters' starting values, where it isn't that of the rows."""
    order_seed: Count | None = None
    """The seed of orders, where it isn't that of the rows."""


class Record(BaseModel):
    """A measurement, of what, and how it was made; the fields are the keys of the JSON object.

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
    """The set's seed, which its rows are drawn with."""
    lr: Finite | None
    """The learning rate; null if nothing was trained."""
    adapter: AdapterRecord | None
    """Null if there is none."""
    metrics: Metrics
    seconds: dict[str, Finite] = {}
    """Wall-clock seconds by phase."""
    stages: list[StageRecord] = []
    """Losses and steps of each training stage."""
    options: Options = Options()
    notes: list[str] = []
    """Messages about choices made for the user."""
    versions: dict[str, str] = Field(default_factory=lambda: versions())
    """Versions of Python and of the libraries used."""
    predictions: str | None = None
    """The file of the predictions, relative to the record's folder."""
    file: str | None = Field(default=None, exclude=True)
    """The record's file, relative to the folder of measurements."""

    @property
    def diverged(self) -> bool:
        """Whether training diverged, so that there was no adapter to evaluate."""
        return self.metrics.accuracy is None and any(stage.stopped_by == "diverged" for stage in self.stages)

    @property
    def seeds(self) -> tuple[int, int, int]:
        """By which records of one method and setting are told apart: the seeds of rows, starting values and orders.

        Where they aren't apart, all three are the set's; 0 where nothing was drawn.
        """
        seed = self.seed or 0
        start, order = self.options.start_seed, self.options.order_seed
        return seed, seed if start is None else start, seed if order is None else order

    @classmethod
    def read(cls, path: Path, folder: Path | None = None) -> "Record":
        """Read a record.

        Args:
            path: its file.
            folder: the folder of measurements that it belongs to.

        Raises:
            InputError: the file can't be read, or is no record; names the field that is wrong.
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
        """The record that a JSON value says.

        Args:
            value: the value.
            path: where it was read, for the error.
            file: the record's file, relative to the folder of measurements.

        Raises:
            InputError: it is no record; names the field that is wrong.
        """
        if not isinstance(value, dict):
            raise InputError(f"{path}: this record can't be read (it is not a JSON object).")
        # an adapter that diverged had no metrics in the first versions; the reader's versions aren't the record's
        try:
            record = cls.model_validate({"versions": {}} | value | {"metrics": value.get("metrics") or {}})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            field = ".".join(map(str, first["loc"]))
            wrong = f"{field} is missing" if first["type"] == "missing" else f"{field}: {first['msg']}"
            raise InputError(f"{path}: this record can't be read ({wrong}).") from error
        return record.model_copy(update={"file": file}) if file is not None else record

    def as_json(self) -> dict[str, Any]:
        """The JSON object.

        Raises:
            ValueError: it holds a number that JSON can't say.
        """
        whole = self.model_dump(by_alias=True)
        # of its parts only what was measured or chosen
        set_fields = self.model_dump(by_alias=True, exclude_unset=True)
        # pydantic's own JSON has null for what is no finite number, which would go unnoticed
        value: dict[str, Any] = json.loads(json.dumps(whole | set_fields, allow_nan=False))
        return value

    def write(self, path: Path, predictions: Path, rows: Iterable[Mapping[str, Any]]) -> "Record":
        """Write the record and, a JSON line for each row, its predictions; return it as it was written.

        Args:
            path: the record's file.
            predictions: the predictions' file, which the record names relative to its own folder.
            rows: what was answered to each query.
        """
        write_rows(predictions, rows)
        named = Path(os.path.relpath(predictions, path.parent)).as_posix()
        record = self.model_copy(update={"predictions": named})
        write_json(path, record.as_json())
        return record

    def rows(self, folder: Path) -> Path:
        """The file of its predictions, for a record that was read from a folder of measurements."""
        assert self.file is not None, "it was read from a folder"
        assert self.predictions is not None, "it names its predictions"
        return (folder / self.file).parent / self.predictions


def load_records(folder: Path, unit: str | None = None) -> list[Record]:
    """All records of a folder of measurements, or those of one unit of a study.

    Args:
        folder: what `ia2 run`, `ia2 adapt` or `ia2 demo` wrote.
        unit: the unit's name; by default all of them, and records that belong to none.

    Raises:
        InputError: there are none, or one can't be read.
    """
    files = record_files(folder, unit)
    if not files:
        raise InputError(f"{folder}: no records here: {FOLDER}/ holds none. Name a folder that ia2 run wrote.")
    return [Record.read(file, folder) for file in files]


def record_files(folder: Path, unit: str | None = None) -> list[Path]:
    """The files of those records, in the order of their names."""
    patterns = ("*.json", "*/*.json") if unit is None else (f"{unit}/*.json",)
    every = {file for pattern in patterns for file in (folder / FOLDER).glob(pattern)}
    # what is being written, or was when its process was killed, stands in a hidden folder or file
    return sorted(file for file in every if not (file.parent.name.startswith(".") or file.name.startswith(".")))


def without_nan(value: Any) -> Any:
    """The same with null where a loss was no finite number, which JSON can't say.

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
    """Write a JSON object, whole or not at all.

    Raises:
        ValueError: it holds a number that JSON can't say.
    """
    with written_whole(path) as partial:
        partial.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write predictions, one JSON object a line, whole or not at all."""
    with written_whole(path) as partial:
        lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows)
        partial.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def versions() -> dict[str, str]:
    """The versions of Python and of the libraries that computed something."""
    libraries = {library: importlib.metadata.version(library) for library in LIBRARIES}
    return {"python": platform.python_version(), **libraries}
