"""Writing rows to a file in the format of its suffix."""

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType

from ia2.cache import check_writable, written_whole
from ia2.errors import InputError
from ia2.tasks.files.excel import write_excel
from ia2.tasks.files.table import Row


def _delimited(delimiter: str) -> Callable[[Sequence[str], Sequence[Row]], str]:
    def text(columns: Sequence[str], rows: Sequence[Row]) -> str:
        out = io.StringIO()
        writer = csv.DictWriter(out, columns, delimiter=delimiter, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return out.getvalue()

    return text


def _json_lines(_columns: Sequence[str], rows: Sequence[Row]) -> str:
    # rows keep only their own keys
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


def _json_array(_columns: Sequence[str], rows: Sequence[Row]) -> str:
    objects = ",\n".join(json.dumps(row, ensure_ascii=False, default=str) for row in rows)
    return f"[\n{objects}\n]\n"


TEXTS: Mapping[str, Callable[[Sequence[str], Sequence[Row]], str]] = MappingProxyType(
    {
        ".csv": _delimited(","),
        ".tsv": _delimited("\t"),
        ".json": _json_array,
        ".jsonl": _json_lines,
        ".ndjson": _json_lines,
    }
)
"""Text formats by suffix."""
UNTYPED = (".csv", ".tsv")
"""Formats in which a spreadsheet program recognises a formula by its first character (OWASP, CSV injection)."""
FORMULA = re.compile(r"[=+\-@\t\r]")
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def without_formulas(ending: str, rows: Sequence[Row], column: str) -> Sequence[Row]:
    """Return rows with `'` before texts of a column that a spreadsheet program would run as formulas.

    This is for text written by a model. Plain numbers and formats with typed cells are unchanged.

    Args:
        ending: the suffix that names the format.
        rows: the values of each row by column.
        column: the column of texts.

    Example:
        >>> rows = [{"prediction": text} for text in ("=1+1", "-5", "fine")]
        >>> [row["prediction"] for row in without_formulas(".csv", rows, "prediction")]
        ["'=1+1", '-5', 'fine']
        >>> without_formulas(".json", rows, "prediction") == rows
        True
    """
    if ending not in UNTYPED:
        return rows
    return [{**row, column: no_formula(row.get(column))} for row in rows]


def no_formula(value: object) -> object:
    """Return a cell's value, with `'` before a text that a spreadsheet program would run as a formula.

    Example:
        >>> no_formula("=1+1"), no_formula("-5"), no_formula(None)
        ("'=1+1", '-5', None)
    """
    runs = isinstance(value, str) and FORMULA.match(value) and not NUMBER.fullmatch(value)
    return f"'{value}" if runs else value


def as_text(ending: str, columns: Sequence[str], rows: Sequence[Row]) -> str:
    r"""Return rows as the text of a file with this suffix.

    Raises:
        InputError: the format is unknown, or is not text.

    Example:
        >>> as_text(".csv", ["text", "prediction"], [{"text": "a, b", "prediction": "x"}])
        'text,prediction\n"a, b",x\n'
    """
    if ending not in TEXTS:
        raise InputError(f"The format {ending!r} can't be printed as text. Use one of {', '.join(TEXTS)}.")
    return TEXTS[ending](columns, rows)


def _write_text(partial: Path, path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    text = as_text(path.suffix.lower(), columns, rows)
    partial.write_text(text, encoding="utf-8", newline="")


def _write_parquet(partial: Path, path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    # imported here because it is slow and only Parquet needs it
    import pyarrow
    from pyarrow.parquet import write_table

    try:
        table = pyarrow.table({column: pyarrow.array([row.get(column) for row in rows]) for column in columns})
    except (pyarrow.ArrowException, OverflowError) as error:
        raise InputError(
            f"{path}: a column holds values of different types ({error}). Write .jsonl instead."
        ) from error
    write_table(table, partial)


WRITERS: Mapping[str, Callable[[Path, Path, Sequence[str], Sequence[Row]], None]] = MappingProxyType(
    {**dict.fromkeys(TEXTS, _write_text), ".parquet": _write_parquet, ".xlsx": write_excel}
)
"""Functions that write rows to a temporary file, by the suffix of the final path."""


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    r"""Write rows atomically in the format of the file's suffix; text is UTF-8.

    Args:
        path: the file.
        columns: the names of the columns, in order.
        rows: the values of each row by column.

    Raises:
        InputError: the suffix is unknown, or the format can't hold these values.

    Example:
        >>> write_rows(Path("rows.jsonl"), ["text", "prediction"], [{"text": "a", "prediction": "x"}])
        >>> Path("rows.jsonl").read_text()
        '{"text": "a", "prediction": "x"}\n'
    """
    check_ending(path)
    with written_whole(path) as partial:
        WRITERS[path.suffix.lower()](partial, path, columns, rows)


def check_rows(path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Refuse rows that `write_rows` would refuse, without leaving a file: a check before a long computation.

    Raises:
        InputError: as for `write_rows`.
    """
    check_ending(path)
    check_writable(path)
    with TemporaryDirectory() as folder:
        WRITERS[path.suffix.lower()](Path(folder) / path.name, path, columns, rows)


def check_ending(path: Path) -> None:
    """Raise an InputError for a file in a format that can't be written."""
    if path.suffix.lower() not in WRITERS:
        problem = f"can't write {path.suffix!r} files" if path.suffix else "the suffix must name the format"
        raise InputError(f"{path}: {problem}. Use one of {', '.join(WRITERS)}.")
