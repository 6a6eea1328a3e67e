"""Delimited text: CSV with commas, semicolons or tabs, and TSV."""

import csv
from io import StringIO
from pathlib import Path

from ia2.errors import InputError
from ia2.tasks.files.header import table_under
from ia2.tasks.files.table import Table

LONGEST_CELL = 2**31 - 1
"""Largest field limit in characters that Python's CSV reader accepts on every system; its default is 131,072."""


def read_delimited(path: Path, text: str) -> Table:
    r"""Read delimited text; the first line that isn't blank is the header.

    The delimiter is a tab in a `.tsv` file, and otherwise the most frequent of comma, semicolon and tab in the header.

    Args:
        path: the file.
        text: the file's content.

    Raises:
        InputError: two columns share a name, a row has too many or too few values, or a quote is never closed.

    Example:
        >>> read_delimited(Path("rows.csv"), "text;label\na, b;x\n").rows
        (('rows.csv, line 2', {'text': 'a, b', 'label': 'x'}),)
    """
    header = next((line for line in StringIO(text, newline="") if line.strip()), "")
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count)
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    limit = csv.field_size_limit(LONGEST_CELL)
    try:
        lines = [(f"{path}, line {reader.line_num}", values) for values in reader if values]
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: this is not valid CSV ({error}).") from error
    finally:
        csv.field_size_limit(limit)
    if not lines:
        return Table(path, (), ())
    return table_under(path, lines[0], lines[1:])
