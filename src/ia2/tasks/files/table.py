"""A file's rows as every data format gives them, and a cell of theirs as text."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ia2.errors import InputError


@dataclass(frozen=True)
class Table:
    """The rows of a file, in its order."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, Mapping[str, Any]], ...]
    """Each row's position for an error message, such as `rows.csv, line 3`, and its values by column."""


def distinct_columns(path: Path, names: Iterable[str]) -> tuple[str, ...]:
    """The names of a file's columns, if each is used once.

    Raises:
        InputError: two columns have the same name.

    Example:
        >>> distinct_columns(Path("rows.csv"), ["text", "label"])
        ('text', 'label')
    """
    columns = tuple(names)
    if repeated := [column for column, count in Counter(columns).items() if count > 1]:
        raise InputError(f"{path}: two columns are called {repeated[0]!r}. Give each a name of its own.")
    return columns


def cell_text(value: Any, position: str, column: str) -> str:
    """A cell as text: integers without a decimal point, booleans in lower case, a missing value as the empty string.

    Args:
        value: what the cell holds.
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
    raise InputError(f"{position}: {column!r} holds a {type(value).__name__}; texts and labels must be plain values.")
