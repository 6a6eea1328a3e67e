"""Scores of each class in one measurement: precision, recall, F1 and the confusion matrix."""

from collections.abc import Sequence
from dataclasses import dataclass

from ia2.adapters.registry import label
from ia2.records import Record
from ia2.reports.aggregate import Result
from ia2.reports.method_names import method_name, method_order
from ia2.reports.table import Column, Table, Value

CLASS_COLUMNS = (
    Column("label"),
    *(Column(heading, ".3f", better="higher") for heading in ("precision", "recall", "F1")),
    Column("n", "d"),
)


@dataclass(frozen=True)
class ByClass:
    """Per-class scores of one adapter or baseline."""

    heading: str
    tables: tuple[Table, ...]
    """A table with a row per class, and the confusion matrix if the record has one."""


def by_class(cells: Sequence[Result]) -> tuple[ByClass, ...]:
    """Return the per-class scores of every measurement in a study of one unit, as written by `ia2 adapt`.

    Larger studies have too many records. Free-text tasks and records of earlier versions have no class scores.

    Args:
        cells: the study's results.
    """
    # a baseline is repeated for every adapter that it is compared with
    records = list({record.file: record for cell in cells for record in cell.records}.values())
    if len({record.options.unit for record in records}) != 1:
        return ()
    records.sort(key=lambda record: method_order(record.method))
    return tuple(_of_record(record, records) for record in records if record.metrics.classes)


def _of_record(record: Record, records: Sequence[Record]) -> ByClass:
    classes, confusion = record.metrics.classes or [], record.metrics.confusion
    heading = _heading(record, records)
    # labels start with the space after the prompt's colon
    labels = [row.label.strip() for row in classes]
    rows = [(name, row.precision, row.recall, row.f1, row.n) for name, row in zip(labels, classes, strict=True)]
    tables = [Table.of(f"{heading}: each class", "n: number of rows with this correct label.", CLASS_COLUMNS, rows)]
    if confusion is not None:
        matrix: list[tuple[Value, ...]] = [(name, *counts) for name, counts in zip(labels, confusion, strict=True)]
        tables.append(
            Table.of(
                f"{heading}: confusion matrix",
                "Rows: correct labels. Columns: how often each label was predicted.",
                (Column("correct label"), *(Column(name, "d") for name in labels)),
                matrix,
            )
        )
    return ByClass(heading, tuple(tables))


def _heading(record: Record, records: Sequence[Record]) -> str:
    """Return the method and task, plus the adapter and labels where needed to tell records apart."""
    alike = [other for other in records if (other.method, other.task.eval) == (record.method, record.task.eval)]
    parts = [method_name(record)]
    if record.adapter is not None and len(alike) > 1:
        parts += [label(record.adapter.sizes), *([record.options.label_source] if record.options.label_source else [])]
    return f"{', '.join(parts)} on {record.task.eval}"
