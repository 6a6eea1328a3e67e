"""What of a study's records its report is made from: those that can be read, are still planned, and didn't diverge."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ia2.errors import InputError
from ia2.records import SCHEMA
from ia2.reports.aggregate import Record, Select, adapter_name
from ia2.reports.tables import method_name
from ia2.training.method_files import problem

Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Read(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Model(_Read):
    id: str


class _Task(_Read):
    train: str
    eval: str


class _Adapter(_Read):
    kind: str
    rank: int | None = None
    alpha: Finite | None = None
    modules: list[str] | None


class _Metrics(_Read):
    accuracy: Share
    ece: Share | None = None
    asim: Finite | None = None
    asim_by_layer: list[Finite] | None = None
    asim_by_token: list[Finite] | None = None


class _Stage(_Read):
    steps: int
    stopped_by: str | None = None


class _Options(_Read):
    unit: str
    set_n: int
    label_source: str | None
    beta: Finite | None
    dev_loss: Finite | None


class _Record(_Read):
    """What reports read of a record (`ia2.records.Record`)."""

    schema_: Literal[SCHEMA] = Field(SCHEMA, alias="schema")  # type: ignore[valid-type]
    method: str
    model: _Model
    task: _Task
    seed: int | None
    lr: Finite | None
    adapter: _Adapter | None
    metrics: _Metrics
    seconds: dict[str, Finite] = {}
    stages: list[_Stage] = []
    options: _Options
    notes: list[str] = []
    versions: dict[str, str] = {}
    predictions: str


def sound(
    records: Iterable[Record], folder: Path, planned: Mapping[str, str], select: Select
) -> tuple[list[Record], list[str]]:
    """The records that a report is made from, and sentences on those that are left out.

    Args:
        records: all of a study's folder.
        folder: the study's.
        planned: the model of each unit that the study plans, as the study names it, by the unit's id. Models of
            different folders or files may have one name in records, so that it's these that are taken.
        select: how the best learning rate and β are chosen.

    Raises:
        InputError: a record lacks what reports need, or none is of a unit that is planned.
    """
    found: list[Record] = []
    unplanned = 0
    for record in records:
        gone = _diverged(record)
        _check(record, folder, select, gone)
        unit = record["options"]["unit"]
        if unit in planned:
            found.append({**record, "model": {**record["model"], "id": planned[unit]}})
        else:
            unplanned += 1
    if not found:
        raise InputError(f"{folder}: no records of what its study plans. Run the study, or name another folder.")
    said = [f"The records of units that the study no longer plans are left out, {unplanned} in all."] * bool(unplanned)
    return [record for record in found if not _diverged(record)], said + _told(found)


def _diverged(record: Record) -> bool:
    """Whether an adapter was lost in training, so that there was nothing to measure."""
    stages, metrics = record.get("stages"), record["metrics"]
    unmeasured = metrics is None or (isinstance(metrics, Mapping) and metrics.get("accuracy") is None)
    lost = isinstance(stages, Sequence) and any(
        isinstance(stage, Mapping) and stage.get("stopped_by") == "diverged" for stage in stages
    )
    return unmeasured and lost


def _check(record: Record, folder: Path, select: Select, diverged: bool) -> None:
    file = folder / record["file"]
    try:
        _Record.model_validate({**record, "metrics": {"accuracy": 0.0}, "predictions": ""} if diverged else record)
    except ValidationError as error:
        first = problem(error.errors(include_url=False)[0])
        raise InputError(f"{file}: this record can't be read ({first.removesuffix('.')}).") from error
    if select == "dev" and record["adapter"] is not None and record["options"]["dev_loss"] is None and not diverged:
        raise InputError(f"{file}: this record has no dev loss, which select: dev goes by. Select by accuracy.")


def _told(records: Sequence[Record]) -> list[str]:
    """Which adapters diverged, at which learning rate and β, on how many of the sets of all tasks and N."""
    lost: dict[str, dict[str, bool]] = defaultdict(dict)
    for record in records:
        if record["adapter"] is not None:
            options = record["options"]
            where = [record["model"]["id"], adapter_name(record["adapter"])]
            where += [f"{options['label_source']} labels"] * (options["label_source"] is not None)
            where += [f"{name} {value:g}" for name, value in (("lr", record["lr"]), ("β", options["beta"])) if value]
            lost[f"{method_name(record)} ({', '.join(where)})"][options["unit"]] = _diverged(record)
    said = [
        f"{name} diverged on {sum(own.values())} of {len(own)} sets of all N, which count nowhere."
        for name, own in lost.items()
        if any(own.values())
    ]
    return said + ["Chosen is among the learning rates and β that diverged on the fewest sets."] * bool(said)
