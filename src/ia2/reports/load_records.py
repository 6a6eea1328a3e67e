"""Selects the records of a report: those that are readable, still planned, and didn't diverge."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ia2.adapters.registry import label
from ia2.errors import InputError
from ia2.records import Record
from ia2.reports.aggregate import Select
from ia2.reports.method_names import method_name


def sound(
    records: Iterable[Record], folder: Path, planned: Mapping[str, str], select: Select
) -> tuple[list[Record], list[str]]:
    """Return the records for the report, and sentences on those that are left out.

    Args:
        records: all records of the study's folder.
        folder: the study's folder.
        planned: the study's own name for the model of each planned unit, by unit id. These names are used because
            models from different folders or files may share a name in records.
        select: how the best learning rate and β are chosen.

    Raises:
        InputError: a record lacks a field that reports need, or none belongs to a planned unit.
    """
    planned_records: list[Record] = []
    unplanned = 0
    for record in records:
        _check(record, folder, select)
        unit = str(record.options.unit)
        if unit in planned:
            model = record.model.model_copy(update={"id": planned[unit]})
            planned_records.append(record.model_copy(update={"model": model}))
        else:
            unplanned += 1
    if not planned_records:
        raise InputError(
            f"{folder}: there are no records of the units that its study plans. Run the study, or name another folder."
        )
    notes = [f"Records of units that the study no longer plans are left out ({unplanned})."] * bool(unplanned)
    return [record for record in planned_records if not record.diverged], notes + _divergence_notes(planned_records)


def _check(record: Record, folder: Path, select: Select) -> None:
    """Refuse a record without the fields that only reports need. Raises InputError."""
    file = folder / str(record.file)
    needed = {
        "options.unit": record.options.unit,
        "options.set_n": record.options.set_n,
        "task.train": record.task.train,
        "metrics.accuracy": 0.0 if record.diverged else record.metrics.accuracy,
        "predictions": "" if record.diverged else record.predictions,
    }
    if missing := [field for field, value in needed.items() if value is None]:
        raise InputError(f"{file}: this record can't be read ({missing[0]} is missing).")
    if select == "dev" and record.adapter is not None and record.options.dev_loss is None and not record.diverged:
        raise InputError(f"{file}: this record has no dev loss, which select: dev needs. Select by accuracy.")


def _divergence_notes(records: Sequence[Record]) -> list[str]:
    """Return sentences on diverged adapters: learning rate, β, and the number of sets over all tasks and N."""
    lost: dict[str, dict[str, bool]] = defaultdict(dict)
    for record in records:
        if record.adapter is not None:
            options = record.options
            where = [record.model.id, label(record.adapter.sizes)]
            where += [f"{options.label_source} labels"] * (options.label_source is not None)
            where += [f"{name} {value:g}" for name, value in (("lr", record.lr), ("β", options.beta)) if value]
            lost[f"{method_name(record)} ({', '.join(where)})"][str(options.unit)] = record.diverged
    notes = [
        f"{name} diverged on {sum(diverged.values())} of {len(diverged)} sets (over all N); these are left out."
        for name, diverged in lost.items()
        if any(diverged.values())
    ]
    return notes + ["The best is selected among the learning rates and β that diverged on the fewest sets."] * bool(
        notes
    )
