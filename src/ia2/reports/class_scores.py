"""Table of class and probability scores over sets, a row per method: macro-F1, balanced accuracy, NLL and Brier."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ia2.reports.aggregate import Result, by_model, mean, number_over_sets
from ia2.reports.method_names import METHOD_NAMES
from ia2.reports.table import NOTHING, Column, Table, Value
from ia2.reports.table import Cell as TableCell

NAMED = (Column("adapter"), Column("labels"), Column("N", "d"), Column("source"), Column("eval"), Column("method"))
SETS = Column("sets", "d")
GROUPED = 5
"""Number of leading columns that describe the setting."""
SCORES: Mapping[str, tuple[Column, float]] = {
    "macro_f1": (Column("macro-F1 %", ".1f", better="higher"), 100.0),
    "balanced_accuracy": (Column("balanced %", ".1f", better="higher"), 100.0),
    "nll": (Column("NLL", ".3f", better="lower"), 1.0),
    "brier": (Column("Brier", ".3f", better="lower"), 1.0),
}
"""Column of each metric, and the factor that its values are multiplied by."""


def class_scores(cells: Sequence[Result]) -> list[Table]:
    """Return a table for each model whose records have these scores, with every method and setting.

    Args:
        cells: the study's results.
    """
    return scores_tables(
        cells,
        SCORES,
        "class scores and probabilities",
        "Means (standard deviations with divisor n - 1) over sets; all scores are over the labels alone. macro-F1: F1 "
        "averaged over labels; balanced: recall averaged over labels; NLL: mean of -ln p of the correct label; Brier: "
        "mean of the squared errors of all labels' probabilities, summed over labels (0 to 2).",
        "nll",
    )


def scores_tables(
    cells: Sequence[Result], scores: Mapping[str, tuple[Column, float]], title: str, caption: str, needed: str
) -> list[Table]:
    """Return a table for each model, with the chosen scores of every method and setting.

    Args:
        cells: the study's results.
        scores: the column of each metric, and the factor that its values are multiplied by.
        title: the part of the title after the model's name.
        caption: the table's caption.
        needed: the metric that a set must have to be in the means.
    """
    measured = [cell for cell in (_with_metric(cell, needed) for cell in cells) if cell.records]
    tables = []
    for model, model_cells in by_model(measured).items():
        table = Table(
            f"{model}: {title}",
            caption,
            (*NAMED, SETS, *(column for column, _ in scores.values())),
            tuple(_row(cell, scores) for cell in model_cells),
            grouped=GROUPED,
        )
        tables.append(table.without_empty_columns(("labels", "eval", "source")))
    return tables


def _with_metric(cell: Result, metric: str) -> Result:
    """Return the result over the sets that have this metric, so that all means of a row are over the same sets."""
    return replace(cell, records=tuple(record for record in cell.records if record.metrics.get(metric) is not None))


def _row(cell: Result, scores: Mapping[str, tuple[Column, float]]) -> tuple[TableCell, ...]:
    setting = cell.setting
    method = METHOD_NAMES.get(cell.method, cell.method)
    named: tuple[Value, ...] = (setting.adapter, setting.label_source, setting.n, setting.source, setting.eval, method)
    return (
        *(column.cell(value) for column, value in zip(NAMED, named, strict=True)),
        SETS.cell(len(cell.records)),
        *(_score(cell, metric, column, scale) for metric, (column, scale) in scores.items()),
    )


def _values(cell: Result, metric: str) -> list[float]:
    """Return the metric's value on each set that has one."""
    values = (record.metrics.get(metric) for record in cell.records)
    return [value for value in values if value is not None]


def _score(cell: Result, metric: str, column: Column, scale: float) -> TableCell:
    values = [scale * value for value in _values(cell, metric)]
    average = mean(values)
    if average is None:
        return TableCell(NOTHING, None)
    number = number_over_sets(cell, metric, values)
    printed = column.numbers or ""
    text = format(average, printed) + (f" ({number.spread:{printed}})" if number.spread is not None else "")
    return TableCell(text, average, number=number)
