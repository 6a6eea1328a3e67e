"""Forgetting over sets: accuracy on other tasks and log-likelihood of held-out texts, with and without adapter."""

from collections.abc import Iterator, Sequence

from ia2.reports.aggregate import Result, by_model, mean, number_over_sets
from ia2.reports.method_names import METHOD_NAMES
from ia2.reports.table import Cell, Column, Table, Value

NAMED = (Column("adapter"), Column("labels"), Column("N", "d"), Column("source"), Column("method"))
GROUPED = 4
"""Number of leading columns that describe the setting."""
TASKS = (Column("other task"), Column("without %", ".1f"), Column("with %", ".1f"), Column("change", "+.1f"))
TEXTS = (Column("tokens", ".0f"), Column("without", ".3f"), Column("with", ".3f"), Column("change", "+.3f"))


def forgetting(cells: Sequence[Result]) -> list[Table]:
    """Return for each model a table of other tasks and one of held-out texts, if records have them.

    Args:
        cells: the study's results.
    """
    tables = []
    for model, model_cells in by_model(cells).items():
        rows = [row for cell in model_cells for row in _task_rows(cell)]
        if rows:
            tables.append(
                _table(
                    f"{model}: accuracy on other tasks",
                    "Means over sets, with and without each adapter, and the change in points with its standard "
                    "deviation (divisor n - 1) in parentheses.",
                    (*NAMED, *TASKS),
                    rows,
                )
            )
        rows = [_text_row(cell) for cell in model_cells if _of_sets(cell, "held_log_likelihood")]
        if rows:
            tables.append(
                _table(
                    f"{model}: log-likelihood of held-out text",
                    "Mean log-likelihood per token in nats, averaged over sets, with and without each adapter, and the "
                    "change with its standard deviation (divisor n - 1) in parentheses.",
                    (*NAMED, *TEXTS),
                    rows,
                )
            )
    return tables


def _table(title: str, caption: str, columns: tuple[Column, ...], rows: Sequence[tuple[Cell, ...]]) -> Table:
    table = Table(title, caption, columns, tuple(rows), grouped=GROUPED)
    return table.without_empty_columns(("labels", "source"))


def _task_rows(cell: Result) -> Iterator[tuple[Cell, ...]]:
    """Yield a row for each other task in a method's records."""
    of_records = [record.metrics.forgetting or [] for record in cell.records]
    for name in dict.fromkeys(task.task for tasks in of_records for task in tasks):
        measured = [task for tasks in of_records for task in tasks if task.task == name]
        without = [100 * task.accuracy_without for task in measured]
        adapted = [100 * task.accuracy for task in measured]
        yield (*_named(cell, TASKS[0].cell(name)), *_compared(cell, TASKS[1:], f"forgetting_{name}", without, adapted))


def _text_row(cell: Result) -> tuple[Cell, ...]:
    tokens = TEXTS[0].cell(mean(_of_sets(cell, "held_tokens")))
    without, adapted = _of_sets(cell, "held_log_likelihood_without"), _of_sets(cell, "held_log_likelihood")
    return (*_named(cell, tokens), *_compared(cell, TEXTS[1:], "held_log_likelihood", without, adapted))


def _named(cell: Result, last: Cell) -> tuple[Cell, ...]:
    setting = cell.setting
    method = METHOD_NAMES.get(cell.method, cell.method)
    values: tuple[Value, ...] = (setting.adapter, setting.label_source, setting.n, setting.source, method)
    return (*(column.cell(value) for column, value in zip(NAMED, values, strict=True)), last)


def _compared(
    cell: Result, columns: Sequence[Column], measure: str, without: Sequence[float], adapted: Sequence[float]
) -> Iterator[Cell]:
    """Yield the mean without and with the adapter, and the mean change with its standard deviation over sets."""
    changes = [after - before for before, after in zip(without, adapted, strict=True)]
    number = number_over_sets(cell, f"{measure}_change", changes)
    spread = number.spread
    yield columns[0].cell(mean(without))
    yield columns[1].cell(mean(adapted))
    average, printed = mean(changes), columns[2].numbers or ""
    assert average is not None, "there is a row only where there is a value"
    text = format(average, printed) + (f" ({spread:{printed.removeprefix('+')}})" if spread is not None else "")
    yield Cell(text, average, number=number)


def _of_sets(cell: Result, name: str) -> list[float]:
    """Return the metric's value on each set that has one."""
    return [float(value) for record in cell.records if (value := record.metrics.get(name)) is not None]
