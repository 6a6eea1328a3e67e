"""Splits a method's variance into rows, initialisation and order, in studies with separate seeds."""

from collections.abc import Iterator, Sequence

from ia2.analysis.variance import variance_split
from ia2.reports.aggregate import Result, by_model
from ia2.reports.measures import MEASURES
from ia2.reports.method_names import METHOD_NAMES
from ia2.reports.table import Cell, Column, Number, Table, Value

FACTORS = ("rows", "start", "order")
"""Variance factors, in the order of a record's seeds."""
SPLIT = ("accuracy", "ece")
NAMED = (
    *(Column("adapter"), Column("labels"), Column("N", "d"), Column("source"), Column("eval"), Column("method")),
    *(Column("measure"), Column("values", "d"), Column("deviation", ".3f")),
)
GROUPED = 5
"""Number of leading columns that describe the setting."""
SHARES = (*(Column(f"{name} %", ".0f") for name in FACTORS), Column("rest %", ".0f"))
CAPTION = (
    "How much of the variance of a method's numbers is due to the rows (rows), to the adapter's initial values (start) "
    "and to the orders of demonstrations and of training rows (order), estimated by an analysis of variance with "
    "random effects. rest: interactions of these, and what none of them explains. deviation: the square root of the "
    "total variance. Negative estimates are set to 0; with only a few values per factor the estimates are rough."
)


def variance_tables(cells: Sequence[Result]) -> list[Table]:
    """Return a table for each model of a study with separate seeds, with every method measured at all of them.

    Args:
        cells: the study's results.
    """
    tables = []
    for model, model_cells in by_model(cells).items():
        rows = tuple(row for cell in model_cells for measure in SPLIT for row in _rows(cell, measure))
        if rows:
            table = Table(f"{model}: sources of variance", CAPTION, (*NAMED, *SHARES), rows, grouped=GROUPED)
            no_levels = tuple(column.heading for column in SHARES[:-1])
            tables.append(table.without_empty_columns(("labels", "source", "eval", *no_levels)))
    return tables


def _rows(cell: Result, measure: str) -> Iterator[tuple[Cell, ...]]:
    """Yield the row of a result and measure; none without separate seeds or all numbers, or for a single factor."""
    if any(record.options.start_seed is None for record in cell.records):
        return
    scale = MEASURES[measure].scale
    values = {record.seeds: record.metrics.get(measure) for record in cell.records}
    if any(value is None for value in values.values()):
        return
    try:
        split = variance_split({seeds: scale * value for seeds, value in values.items()}, FACTORS)
    except ValueError:
        return
    setting, shares = cell.setting, split.shares
    method = METHOD_NAMES.get(cell.method, cell.method)
    of_setting: tuple[Value, ...] = (setting.adapter, setting.label_source, setting.n, setting.source, setting.eval)
    named = (*of_setting, method, MEASURES[measure].heading, len(values), split.total**0.5)
    percent = [None if shares is None or name not in shares else 100 * shares[name] for name in (*FACTORS, "residual")]
    yield (
        *(column.cell(value) for column, value in zip(NAMED, named, strict=True)),
        *(
            column.cell(value, _number(cell, f"{measure}_variance_{name}"))
            for column, name, value in zip(SHARES, (*FACTORS, "rest"), percent, strict=True)
        ),
    )


def _number(cell: Result, measure: str) -> Number:
    return Number(cell.setting.listed, cell.method, measure, sets=len(cell.records), records=cell.records)
