"""Rows written to a file in the format that its ending names."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ia2.cache import written_whole
from ia2.errors import InputError

Row = Mapping[str, Any]


def _delimited(delimiter: str) -> Callable[[Sequence[str], Sequence[Row]], str]:
    def text(columns: Sequence[str], rows: Sequence[Row]) -> str:
        out = io.StringIO()
        writer = csv.DictWriter(out, columns, delimiter=delimiter, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    return text


def _json_lines(_columns: Sequence[str], rows: Sequence[Row]) -> str:
    # a key that a row doesn't have isn't given one
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


TEXTS: Mapping[str, Callable[[Sequence[str], Sequence[Row]], str]] = MappingProxyType(
    {".csv": _delimited(","), ".tsv": _delimited("\t"), ".jsonl": _json_lines, ".ndjson": _json_lines}
)
"""The formats that are text, by their ending."""
WRITTEN = (*TEXTS, ".parquet")
"""The endings that can be written."""


def as_text(ending: str, columns: Sequence[str], rows: Sequence[Row]) -> str:
    r"""Rows as the text of a file with this ending.

    Raises:
        InputError: the format is not known, or not text.

    Example:
        >>> as_text(".csv", ["text", "prediction"], [{"text": "a, b", "prediction": "x"}])
        'text,prediction\n"a, b",x\n'
    """
    if ending not in TEXTS:
        raise InputError(f"The format {ending!r} is no text that can be printed. Use one of {', '.join(TEXTS)}.")
    return TEXTS[ending](columns, rows)


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    r"""Write rows, whole or not at all, in the format that the file's ending names; text is UTF-8.

    Args:
        path: the file.
        columns: their names, in order.
        rows: the values of each row by column.

    Raises:
        InputError: the ending is not known, or the values of a column can't stand in one column of Parquet.

    Example:
        >>> write_rows(Path("rows.jsonl"), ["text", "prediction"], [{"text": "a", "prediction": "x"}])
        >>> Path("rows.jsonl").read_text()
        '{"text": "a", "prediction": "x"}\n'
    """
    check_ending(path)
    ending = path.suffix.lower()
    with written_whole(path) as partial:
        if ending == ".parquet":
            _write_parquet(partial, path, columns, rows)
        else:
            partial.write_text(as_text(ending, columns, rows), encoding="utf-8", newline="")


def check_ending(path: Path) -> None:
    """Refuse a file in a format that can't be written. Raises InputError."""
    if path.suffix.lower() not in WRITTEN:
        raise InputError(f"{path}: the ending {path.suffix!r} can't be written. Use one of {', '.join(WRITTEN)}.")


def _write_parquet(partial: Path, path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    # takes a while to import, and only Parquet needs it
    import pyarrow
    from pyarrow.parquet import write_table

    try:
        table = pyarrow.table({column: pyarrow.array([row.get(column) for row in rows]) for column in columns})
    except (pyarrow.ArrowException, OverflowError) as error:
        raise InputError(
            f"{path}: a column holds values of different types ({error}). Write .jsonl instead."
        ) from error
    write_table(table, partial)
