"""Tables with a header line, and detecting files that lack one."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ia2.errors import InputError, printable
from ia2.tasks.files.table import Table

USUAL_HEADER = "text,label"


def table_under(
    path: Path,
    header: tuple[str, Sequence[Any]],
    rows: Iterable[tuple[str, Sequence[Any]]],
    notes: tuple[str, ...] = (),
) -> Table:
    """Return the table of a header line and the lines below it.

    Args:
        path: the file.
        header: position and cells of the first line; an empty cell is named by its number, such as `column 3`.
        rows: position and cells of each further line, with as many cells as the header.
        notes: choices made while the file was read.

    Raises:
        InputError: two columns share a name, or a row has too many or too few cells.

    Example:
        >>> table = table_under(Path("rows.csv"), ("line 1", ["text", ""]), [("line 2", ["a", "x"])])
        >>> table.columns, table.rows
        (('text', 'column 2'), (('line 2', {'text': 'a', 'column 2': 'x'}),))
    """
    names = ["" if cell is None else str(cell).strip() for cell in header[1]]
    columns = tuple(name or f"column {number}" for number, name in enumerate(names, start=1))
    below = tuple(rows)
    if len(set(columns)) < len(columns) and looks_like_a_row(columns, [cells for _, cells in below]):
        raise missing_header(path, header[0], columns)
    distinct_columns(path, columns)
    for position, cells in below:
        if len(cells) != len(columns):
            raise InputError(
                f"{position}: this row has {len(cells)} values, but the header has {len(columns)} columns."
            )
    named = tuple((position, dict(zip(columns, cells, strict=True))) for position, cells in below)
    return Table(path, columns, named, notes, first_line=header[0])


def distinct_columns(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a file's columns if all are different.

    Raises:
        InputError: two columns have the same name.

    Example:
        >>> distinct_columns(Path("rows.parquet"), ["text", "label"])
        ('text', 'label')
    """
    columns = tuple(names)
    if repeated := [column for column, count in Counter(columns).items() if count > 1]:
        raise InputError(f"{path}: two columns are called {repeated[0]!r}. Give each its own name.")
    return columns


def looks_like_a_row(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bool:
    """Whether a header line is really a row: a cell is a number, or occurs again further down its column.

    Example:
        >>> looks_like_a_row(["a fine film", "positive"], [["a dull one", "negative"], ["a great one", "positive"]])
        True
        >>> looks_like_a_row(["review", "stars"], [["a fine film", "5"]])
        False
    """
    return any(
        _is_number(column) or any(str(cells[at]).strip() == column for cells in rows if at < len(cells))
        for at, column in enumerate(columns)
    )


def missing_header(path: Path, position: str, columns: Sequence[str]) -> InputError:
    """Return the error for a file without a header line."""
    shown = ", ".join(map(printable, columns))
    shown = shown if len(shown) <= 60 else shown[:60] + "…"
    return InputError(
        f"{path}: there is no header: the first line looks like a row ({shown}). Put a line with the column names, "
        f"such as {USUAL_HEADER}, above {position.removeprefix(f'{path}, ')}."
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
