"""A table of rows, which every data format is read into, and converting cells to text."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ia2.errors import InputError, printable

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """The rows of a file, in file order."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, Row], ...]
    """Each row's position for error messages, such as `rows.csv, line 3`, and its values by column."""
    notes: tuple[str, ...] = ()
    """Choices made while the file was read, one sentence each."""
    first_line: str | None = None
    """Position of the header line, for formats in which a row could stand in its place by mistake."""
    category_codes: frozenset[str] = frozenset()
    """Columns of pandas' category codes, in which -1 is a missing value."""

    @property
    def leaves(self) -> tuple[str, ...]:
        """All columns that can be named; nested ones as paths such as `data.body`."""
        return tuple(dict.fromkeys(leaf for _, row in self.rows for leaf in leaf_columns(row))) or self.columns


def leaf_columns(values: Row, prefix: str = "") -> Iterator[str]:
    """Yield the columns of a row; for nested objects, the paths of their values.

    Example:
        >>> list(leaf_columns({"id": 1, "data": {"body": "a", "by": {"name": "b"}}}))
        ['id', 'data.body', 'data.by.name']
    """
    for column, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaf_columns(value, f"{prefix}{column}.")
        else:
            yield f"{prefix}{column}"


def cell_of(row: Row, column: str) -> Any:
    """Return a row's value in a column or at a path such as `data.body`, or None.

    Example:
        >>> row = {"data": {"body": "a"}, "data.id": 3}
        >>> cell_of(row, "data.body"), cell_of(row, "data.id"), cell_of(row, "data.title")
        ('a', 3, None)
    """
    if column in row:
        return row[column]
    parts = column.split(".")
    for count in range(1, len(parts)):
        inner = row.get(".".join(parts[:count]))
        if isinstance(inner, Mapping) and (value := cell_of(inner, ".".join(parts[count:]))) is not None:
            return value
    return None


def cell_text(value: Any, position: str, column: str) -> str:
    """Return a cell as text: whole numbers without a decimal point, booleans in lower case, missing values as "".

    Args:
        value: the cell's value.
        position: the row's position, for the error message.
        column: the column's name, for the error message.

    Raises:
        InputError: the value is neither text nor a number nor a boolean.

    Example:
        >>> [cell_text(value, "rows.jsonl, line 1", "label") for value in (" good ", 3.0, 0.5, True, None)]
        ['good', '3', '0.5', 'true', '']
    """
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (str, int, float)):
        return str(value).strip()
    hint = ""
    if isinstance(value, Mapping):
        plain = [leaf for leaf in leaf_columns(value) if isinstance(cell_of(value, leaf), (str, int, float))]
        hint = f" Name what is in it, such as {printable(f'{column}.{plain[0]}')}." if plain else ""
    raise InputError(
        f"{position}: {column!r} holds a {type(value).__name__}; texts and labels must be plain values.{hint}"
    )
