"""Reading JSON lines: each line is an object whose keys are the columns."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ia2.tasks.files.table import Row, Table
from ia2.tasks.json_lines import json_objects


def read_json_lines(path: Path, text: str) -> Table:
    r"""Read JSON lines. A key that only some rows have is a column too.

    Args:
        path: the file.
        text: the file's content.

    Raises:
        InputError: a line is not a JSON object.

    Example:
        >>> table = read_json_lines(Path("rows.jsonl"), '{"text": "a"}\n{"text": "b", "label": 1}\n')
        >>> table.columns, table.rows[1]
        (('text', 'label'), ('rows.jsonl, line 2', {'text': 'b', 'label': 1}))
    """
    # only \n ends a line: JSON strings may contain other line separators
    return table_of_objects(path, json_objects(path, text.split("\n")))


def table_of_objects(path: Path, rows: Iterable[tuple[str, dict[str, Any]]], notes: tuple[str, ...] = ()) -> Table:
    """Return the table of objects, with their keys as columns in order of first appearance."""
    objects: tuple[tuple[str, Row], ...] = tuple(rows)
    columns = dict.fromkeys(column for _, row in objects for column in row)
    return Table(path, tuple(columns), objects, notes)
