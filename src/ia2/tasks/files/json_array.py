"""Reading JSON: an array of objects, at the top level or as the only such array in an object."""

import json
from pathlib import Path
from typing import Any

from ia2.errors import InputError, printable
from ia2.tasks.files.jsonl import read_json_lines, table_of_objects
from ia2.tasks.files.table import Table

AS_AN_ARRAY = 'an array of objects, such as [{"text": …, "label": …}]'


def read_json(path: Path, text: str) -> Table:
    r"""Read an array of objects whose keys are the columns, or JSON lines in a file that ends in `.json`.

    Args:
        path: the file.
        text: the file's content; rows are numbered from 1.

    Raises:
        InputError: the text is not JSON, or has no array of objects or several.

    Example:
        >>> read_json(Path("rows.json"), '{"version": 2, "data": [{"text": "a"}]}').rows
        (('rows.json, row 1', {'text': 'a'}),)
    """
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and text.lstrip().startswith("{"):
            return _as_lines(path, text)
        raise InputError(
            f"{path}, line {error.lineno}: this is not valid JSON ({error.msg}); is the file truncated?"
        ) from error
    except (ValueError, RecursionError) as error:  # numbers with thousands of digits, or objects nested that deep
        raise InputError(f"{path}: this JSON can't be read ({error}).") from error
    notes: tuple[str, ...] = ()
    if isinstance(value, dict):
        key, value = _only_array(path, value)
        notes = (f"{path.name}: the rows are those under {key!r}.",)
    if not isinstance(value, list):
        raise InputError(f"{path}: this holds no array of rows. Save it as {AS_AN_ARRAY}.")
    rows = [(f"{path}, row {number}", row) for number, row in enumerate(value, start=1)]
    for position, row in rows:
        if not isinstance(row, dict):
            raise InputError(f"{position}: this is not a JSON object. Save the file as {AS_AN_ARRAY}.")
    return table_of_objects(path, rows, notes)


def _only_array(path: Path, value: dict[str, Any]) -> tuple[str, list[Any]]:
    """Return the key and value of an object's only array of objects."""
    arrays = {key: rows for key, rows in value.items() if isinstance(rows, list) and rows and isinstance(rows[0], dict)}
    if len(arrays) > 1:
        raise InputError(
            f"{path}: this holds several arrays of rows ({', '.join(map(printable, arrays))}). Save one of them as a "
            "separate file."
        )
    if not arrays:
        raise InputError(f"{path}: this holds an object without an array of rows. Save it as {AS_AN_ARRAY}.")
    return next(iter(arrays.items()))


def _as_lines(path: Path, text: str) -> Table:
    table = read_json_lines(path, text)
    return Table(path, table.columns, table.rows, (f"{path.name}: this holds JSON lines.",))
