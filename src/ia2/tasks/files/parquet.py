"""Reads Parquet with pyarrow; integer ids become class names stored in the file."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ia2.cache import shown_size
from ia2.errors import InputError
from ia2.tasks.files.arrow import rows_of, written_bytes
from ia2.tasks.files.header import distinct_columns
from ia2.tasks.files.table import Row, Table
from ia2.unpacking import check_rows, check_unpacked, max_unpacked

CODE_TYPES = ("int8", "int16")
"""Integer types that pandas uses for category codes, and that are rarely used for labels."""
TEXT_TYPES = ("NONE", "STRING", "ENUM", "JSON", "BSON")
"""Parquet's logical types for text."""
ROWS_AT_ONCE = 2**16
"""Rows read at a time."""
LEAST_VALUES, VALUES_PER_BYTE = 2**23, 10
"""Number of values that any file may have over all columns, and values per byte allowed in larger files."""


def read_parquet(path: Path) -> Table:
    """Read a Parquet file; rows are numbered from 1.

    Raises:
        InputError: the file isn't Parquet, is damaged, or expands to far more than its size; two columns share a name;
            or an id has no class name.
        UnicodeDecodeError: a text isn't UTF-8.

    Example:
        >>> import pyarrow, pyarrow.parquet
        >>> pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": [1]}), "rows.parquet")
        >>> read_parquet(Path("rows.parquet")).rows
        (('rows.parquet, row 1', {'text': 'a', 'label': 1}),)
    """
    # slow to import, and only needed for Parquet
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        # not read_table, which would turn parent folders such as label=x/ into columns
        with ParquetFile(path) as file:
            schema = file.schema_arrow
            columns = distinct_columns(path, schema.names)
            texts, rows = _checked_texts(file, path.stat().st_size)
        values: list[Row] = []
        with ParquetFile(path, read_dictionary=texts) as file:
            # one group at a time, as pyarrow can't concatenate nested dictionary-encoded columns
            groups = range(file.metadata.num_row_groups)
            batches = (batch for group in groups for batch in file.iter_batches(rows, row_groups=[group]))
            for batch in _bounded(batches, path.stat().st_size):
                values += rows_of(batch)
    except UnicodeDecodeError:
        raise
    except ValueError as error:  # includes pyarrow's own ValueErrors
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
    """Return the text columns of a `ParquetFile` to read dictionary-encoded, and the number of rows per batch.

    Args:
        file: the open file.
        size: the file's size in bytes.

    Raises:
        ValueError: the file expands to far more rows or bytes than its size allows.
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
                # pyarrow writes out every text of a delta encoding
                differences = any(encoding.startswith("DELTA") for encoding in chunk.encodings)
                once[leaf.path] = once.get(leaf.path, True) and not differences
                widest = max(widest, chunk.total_uncompressed_size if differences else 0)
    check_unpacked(unpacked, size)
    if values > (most := max(LEAST_VALUES, VALUES_PER_BYTE * size)):
        raise ValueError(f"it says that it has {values} values; {most} are the most in {shown_size(size)}")
    # no text is longer than its column's uncompressed size
    rows = min(ROWS_AT_ONCE, max_unpacked(size) // widest) if widest else ROWS_AT_ONCE
    return [path for path, is_once in once.items() if is_once], max(1, rows)


def _bounded(batches: Iterable[Any], size: int) -> Iterator[Any]:
    """Yield the batches as long as their expanded text is in proportion to the file's size. Raises ValueError."""
    written = 0
    for batch in batches:
        written += sum(map(written_bytes, batch.columns))
        check_unpacked(written, size)
        yield batch


def named_rows(path: Path, values: Iterable[Row], names: Mapping[str, Sequence[str]]) -> tuple[tuple[str, Row], ...]:
    """Number rows from 1, and replace ids with class names; the id -1 is a missing value.

    Args:
        path: the source file.
        values: each row's values by column.
        names: for each id column, its class names by id from 0.

    Raises:
        InputError: an id has no class name.

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
    """Return the class names of each `ClassLabel` column, which datasets stores in a file's metadata."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return {
            column: [str(name) for name in feature["names"]]
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        # other programs' metadata under this key has no class names
        return {}
