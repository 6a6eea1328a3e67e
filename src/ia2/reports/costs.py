"""Cost of each method and its similarity to in-context learning: asim, steps and seconds, a row per method."""

from collections.abc import Mapping, Sequence

from ia2.reports.aggregate import Result, by_model, mean, number_over_sets
from ia2.reports.method_names import METHOD_NAMES
from ia2.reports.table import Cell, Column, Number, Table

NAMED = (
    *(Column("adapter"), Column("labels"), Column("N", "d"), Column("source"), Column("eval"), Column("method")),
    *(Column("acc %", ".1f"), Column("ECE", ".2f")),
)
GROUPED = 5
"""Number of leading columns that describe the setting."""
SPENT: Mapping[str, Column] = {
    "asim": Column("asim", ".3f"),
    "steps": Column("steps", ".0f"),
    "cut_off": Column("cut off %", ".0f"),
    "train_seconds": Column("train s", ".1f"),
    "evaluate_seconds": Column("evaluate s", ".1f"),
}
"""Column of each number that `cost` returns."""
CHOSEN = (Column("lr", "g"), Column("β", "g"))


def costs(cells: Sequence[Result]) -> list[Table]:
    """Return a table for each model with every method and setting, at the best learning rate and β.

    Args:
        cells: the study's results.
    """
    tables = []
    for model, model_cells in by_model(cells).items():
        table = Table(
            f"{model}: similarity and cost",
            "Means over sets. asim: similarity to in-context learning on the source task. steps: optimiser steps, "
            "summed over an adapter's stages. cut off: share of training stages that reached the epoch limit, so "
            "their dev loss may still have been falling. Seconds: an adapter's share of the time of those trained or "
            "evaluated together, without the teacher's pass.",
            (*NAMED, *SPENT.values(), *CHOSEN),
            tuple(map(_row, model_cells)),
            grouped=GROUPED,
        )
        tables.append(table.without_empty_columns(("labels", "ECE", "asim", "cut off %", "β", "eval", "source")))
    return tables


def _row(cell: Result) -> tuple[Cell, ...]:
    setting = cell.setting
    named = (
        *(setting.adapter, setting.label_source, setting.n, setting.source, setting.eval),
        *(METHOD_NAMES.get(cell.method, cell.method), mean([100 * value for value in cell.accuracy]), mean(cell.ece)),
    )
    spent = cost(cell)
    return (
        *(column.cell(value) for column, value in zip(NAMED, named, strict=True)),
        *(column.cell(mean(spent[name]), _number(cell, name, spent[name])) for name, column in SPENT.items()),
        *(column.cell(value) for column, value in zip(CHOSEN, (cell.lr, cell.beta), strict=True)),
    )


def _number(cell: Result, measure: str, values: Sequence[float]) -> Number | None:
    """Return the CSV row of a method's cost; None if it is unknown."""
    return number_over_sets(cell, measure, values) if values else None


def cost(cell: Result) -> Mapping[str, Sequence[float]]:
    """Return a method's costs, each with a value for every set that has one.

    They are asim, optimiser steps over all stages, the percentage of trained stages that stopped at the maximum number
    of epochs, and seconds of training and evaluation.

    Args:
        cell: the method's result.
    """
    spent: dict[str, list[float]] = {"steps": [], "cut_off": [], "train_seconds": [], "evaluate_seconds": []}
    for record in cell.records:
        if record.stages:
            spent["steps"].append(float(sum(stage.steps for stage in record.stages)))
        if ended := [stage.stopped_by for stage in record.stages if stage.stopped_by in ("patience", "epochs")]:
            spent["cut_off"].append(100 * ended.count("epochs") / len(ended))
        for phase, seconds in record.seconds.items():
            if (name := f"{phase}_seconds") in spent:
                spent[name].append(float(seconds))
    return {"asim": cell.asim, **spent}
