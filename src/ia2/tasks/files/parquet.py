"""Parquet, read with pyarrow; integer ids become the names that the file gives them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ia2.errors import InputError
from ia2.tasks.files.header import distinct_columns
from ia2.tasks.files.table import Row, Table

CODE_TYPES = ("int8", "int16")
"""The types that pandas gives the codes of a category, and hardly anybody else gives labels."""


def read_parquet(path: Path) -> Table:
    """Read a Parquet file; rows are counted from 1.

    Raises:
        InputError: this is no Parquet file, it is damaged, two columns share a name, or an id has no name.
        UnicodeDecodeError: a text is not UTF-8.

    Example:
        >>> import pyarrow, pyarrow.parquet
        >>> pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": [1]}), "rows.parquet")
        >>> read_parquet(Path("rows.parquet")).rows
        (('rows.parquet, row 1', {'text': 'a', 'label': 1}),)
    """
    # takes a while to import, and only Parquet needs it
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        # not read_table, which takes folders such as label=x/ above the file for columns
        with ParquetFile(path) as file:
            schema = file.schema_arrow
            columns = distinct_columns(path, schema.names)
            values = [row for batch in file.iter_batches() for row in batch.to_pylist()]
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: this is no Parquet file ({reason}).") from error
    metadata = schema.metadata or {}
    codes = frozenset(name for name in columns if b"pandas" in metadata and str(schema.field(name).type) in CODE_TYPES)
    return Table(path, columns, named_rows(path, values, _class_names(metadata)), category_codes=codes)


def named_rows(path: Path, values: Iterable[Row], names: Mapping[str, Sequence[str]]) -> tuple[tuple[str, Row], ...]:
    """Rows with their positions, counted from 1, and names instead of ids; the id -1 stands for a missing value.

    Args:
        path: where they come from.
        values: each row's values by column.
        names: for columns of ids, the name of each id from 0 on.

    Raises:
        InputError: an id has no name.

    Example:
        >>> named_rows(Path("rows.parquet"), [{"label": 1}, {"label": -1}], {"label": ["neg", "pos"]})
        (('rows.parquet, row 1', {'label': 'pos'}), ('rows.parquet, row 2', {'label': None}))
    """
    rows = []
    for number, row in enumerate(values, start=1):
        position = f"{path}, row {number}"
        named = {column: _name(row.get(column), names[column], position, column) for column in names}
        rows.append((position, {**row, **named}))
    return tuple(rows)


def _name(value: Any, names: Sequence[str], position: str, column: str) -> Any:
    if not isinstance(value, int) or value == -1:
        return None if value == -1 else value
    if not 0 <= value < len(names):
        raise InputError(f"{position}: {column!r} holds the id {value}, and the file names {len(names)} from 0 on.")
    return names[value]


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """The names of each column of `ClassLabel`, as the library datasets writes them into a file's metadata."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # what other programs keep there says nothing of names
        return {}
