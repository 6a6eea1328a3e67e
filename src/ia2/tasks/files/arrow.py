"""Arrow tables as rows, with limits on their size: a few bytes of Arrow can encode any number of rows."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ia2.unpacking import check_rows

LONGEST_COLUMN = 2**31 - 1
"""Maximum bytes of text in a column of Arrow's type string."""


def rows_of(batch: Any) -> list[dict[str, Any]]:
    """Return the rows of a `pyarrow.RecordBatch` as Python values, with dictionary-encoded texts expanded."""
    import pyarrow

    columns = [
        column.dictionary_decode()
        if pyarrow.types.is_dictionary(column.type) and written_bytes(column) < LONGEST_COLUMN
        else column
        for column in batch.columns
    ]
    rows: list[dict[str, Any]] = pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names).to_pylist()
    return rows


def written_bytes(array: Any) -> int:
    """Return the size in bytes of a `pyarrow.Array` with dictionary-encoded texts expanded.

    Example:
        >>> import pyarrow
        >>> written_bytes(pyarrow.array(["abc", "abc", None, "abc"]).dictionary_encode())
        9
    """
    import pyarrow
    import pyarrow.compute

    kind = pyarrow.types
    if isinstance(array.type, pyarrow.BaseExtensionType):
        return written_bytes(array.storage)
    if kind.is_dictionary(array.type):
        if not (kind.is_string(array.type.value_type) or kind.is_binary(array.type.value_type)):
            return len(array) * 8
        lengths = pyarrow.compute.binary_length(array.dictionary).cast(pyarrow.int64())
        return int(pyarrow.compute.sum(pyarrow.compute.take(lengths, array.indices)).as_py() or 0)
    if kind.is_map(array.type):
        offsets = array.offsets
        start, end = (offsets[0].as_py(), offsets[-1].as_py()) if len(offsets) else (0, 0)
        return sum(written_bytes(part[start:end]) for part in (array.keys, array.items))
    if kind.is_nested(array.type):
        parts = array.flatten()
        return sum(map(written_bytes, parts)) if isinstance(parts, list) else written_bytes(parts)
    return int(array.nbytes)


def check_arrow_folder(folder: Path) -> None:
    """Refuse a saved dataset whose Arrow files expand to far more than their size, which `datasets` never writes.

    Args:
        folder: a folder written by `save_to_disk`.

    Raises:
        ValueError: a file is compressed or dictionary-encoded, or claims more rows than its size allows; names the
            file.
        pyarrow.ArrowException: a file isn't Arrow.
    """
    for file in sorted(folder.rglob("*.arrow")):
        try:
            check_rows(sum(_batch_rows(file)), file.stat().st_size)
        except (ValueError, struct.error) as error:
            raise ValueError(f"{file.name}: {error}") from error


def _batch_rows(file: Path) -> Iterator[int]:
    """Yield the number of rows of each batch. Raises ValueError for a compressed or dictionary-encoded batch."""
    import pyarrow

    with pyarrow.memory_map(str(file)) as source:
        for message in pyarrow.ipc.MessageReader.open_stream(source):
            if message.type == "dictionary":
                raise ValueError("it holds texts once for many rows")
            if message.type == "record batch":
                rows, packed = _header(message.metadata.to_pybytes())
                if packed:
                    raise ValueError("it is packed")
                yield rows
            elif message.type == "schema":
                for field in pyarrow.ipc.read_schema(message):
                    _check_plain(field.type)


def _check_plain(kind: Any) -> None:
    """Refuse types whose values may share bytes. Raises ValueError."""
    import pyarrow

    if str(kind).startswith(("run_end_encoded", "string_view", "binary_view", "list_view", "large_list_view")):
        raise ValueError(f"it has a column of Arrow's type {kind}")
    if not isinstance(kind, pyarrow.BaseExtensionType):
        for number in range(kind.num_fields):
            _check_plain(kind.field(number).type)


def _header(message: bytes) -> tuple[int, bool]:
    """Return a batch's row count and whether it is compressed, from its header (Arrow's Message.fbs, a FlatBuffer)."""

    def field(table: int, number: int) -> int | None:
        """Return the position of a table's field, looked up in the table's vtable; None if the field is absent."""
        offsets = table - struct.unpack_from("<i", message, table)[0]
        entry = 4 + 2 * number
        has_entry = entry < struct.unpack_from("<H", message, offsets)[0]
        offset = struct.unpack_from("<H", message, offsets + entry)[0] if has_entry else 0
        return table + offset if offset else None

    header = field(struct.unpack_from("<I", message, 0)[0], 2)
    if header is None:
        raise ValueError("a batch has no head")
    batch = header + struct.unpack_from("<I", message, header)[0]
    length = field(batch, 0)
    return (0 if length is None else struct.unpack_from("<q", message, length)[0]), field(batch, 3) is not None
