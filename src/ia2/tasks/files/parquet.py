"""Parquet, read with pyarrow; integer ids become the names that the file gives them."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ia2.cache import shown_size
from ia2.errors import InputError
from ia2.tasks.files.arrow import rows_of, written_bytes
from ia2.tasks.files.header import distinct_columns
from ia2.tasks.files.table import Row, Table
from ia2.unpacking import check_rows, check_unpacked, most_unpacked

CODE_TYPES = ("int8", "int16")
"""The types that pandas gives the codes of a category, and hardly anybody else gives labels."""
TEXT_TYPES = ("NONE", "STRING", "ENUM", "JSON", "BSON")
"""Parquet's logical types of texts."""
ROWS_AT_ONCE = 2**16
"""Rows that are read at a time."""
LEAST_VALUES, VALUES_PER_BYTE = 2**23, 10
"""Values that every file may have in all its columns, and how many a larger one may for each of its bytes."""


def read_parquet(path: Path) -> Table:
    """Read a Parquet file; rows are counted from 1.

    Raises:
        InputError: this is not a Parquet file, it is damaged, it stands for far more than its size, two columns share a
            name, or an id has no name.
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
            texts, rows = _checked_texts(file, path.stat().st_size)
        values: list[Row] = []
        with ParquetFile(path, read_dictionary=texts) as file:
            # group by group, as pyarrow can't join nested columns of several whose texts it reads once
            groups = range(file.metadata.num_row_groups)
            batches = (batch for group in groups for batch in file.iter_batches(rows, row_groups=[group]))
            for batch in _bounded(batches, path.stat().st_size):
                values += rows_of(batch)
    except UnicodeDecodeError:
        raise
    except ValueError as error:  # pyarrow's own are some as well
        if isinstance(error, pyarrow.ArrowException):
            raise _unreadable(path, error) from error
        raise InputError(f"{path}: {error}. Leave out what repeats, or save it as .jsonl.") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise _unreadable(path, error) from error
    metadata = schema.metadata or {}
    codes = frozenset(name for name in columns if b"pandas" in metadata and str(schema.field(name).type) in CODE_TYPES)
    return Table(path, columns, named_rows(path, values, _class_names(metadata)), category_codes=codes)


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(f"{path}: this is not a Parquet file ({str(error).splitlines()[0]}).")


def _checked_texts(file: Any, size: int) -> tuple[list[str], int]:
    """The columns of a `ParquetFile` whose texts can be read once each, and how many rows to read at a time.

    Args:
        file: what is to be read.
        size: its bytes.

    Raises:
        ValueError: it stands for far more rows or bytes than its size.
    """
    metadata, leaves = file.metadata, [file.schema.column(number) for number in range(file.metadata.num_columns)]
    check_rows(metadata.num_rows, size)
    values = unpacked = widest = 0
    once: dict[str, bool] = {}
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for number, leaf in enumerate(leaves):
            chunk = group.column(number)
            values += chunk.num_values
            width = leaf.length if leaf.physical_type == "FIXED_LEN_BYTE_ARRAY" else 0
            unpacked += max(chunk.total_uncompressed_size, width * chunk.num_values)
            if leaf.physical_type == "BYTE_ARRAY" and leaf.logical_type.type in TEXT_TYPES:
                # of texts told by how they differ from the last one, pyarrow writes out each
                differences = any(encoding.startswith("DELTA") for encoding in chunk.encodings)
                once[leaf.path] = once.get(leaf.path, True) and not differences
                widest = max(widest, chunk.total_uncompressed_size if differences else 0)
    check_unpacked(unpacked, size)
    if values > (most := max(LEAST_VALUES, VALUES_PER_BYTE * size)):
        raise ValueError(f"it says that it has {values} values; {most} are the most in {shown_size(size)}")
    # no text is longer than all that is written of its column
    rows = min(ROWS_AT_ONCE, most_unpacked(size) // widest) if widest else ROWS_AT_ONCE
    return [path for path, is_once in once.items() if is_once], max(1, rows)


def _bounded(batches: Iterable[Any], size: int) -> Iterator[Any]:
    """The batches of a file, as long as their texts aren't far more than its size. Raises ValueError."""
    written = 0
    for batch in batches:
        written += sum(map(written_bytes, batch.columns))
        check_unpacked(written, size)
        yield batch


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
        raise InputError(
            f"{position}: {column!r} holds the id {value}, but the file has names only for 0 to {len(names) - 1}."
        )
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
