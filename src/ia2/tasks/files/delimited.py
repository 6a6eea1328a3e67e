"""Delimited text: CSV with commas, semicolons or tabs, and TSV."""

import csv
from pathlib import Path

from ia2.errors import InputError
from ia2.tasks.files.table import Table, distinct_columns

LONGEST_CELL = 2**31 - 1
"""The largest limit in characters that Python's CSV reader takes on every system; its default is 131,072."""


def read_delimited(path: Path) -> Table:
    r"""Read a delimited file whose first line that isn't blank names the columns.

    The delimiter is a tab in a file that ends in `.tsv`; else it is the most frequent of comma, semicolon and tab in
    the header.

    Raises:
        InputError: two columns share a name, a row has too many or too few values, or a quote is never closed.
        UnicodeDecodeError: the file is not UTF-8 text.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("rows.csv").write_text("text;label\na, b;x\n")
        >>> read_delimited(Path("rows.csv")).rows
        (('rows.csv, line 2', {'text': 'a, b', 'label': 'x'}),)
    """
    # utf-8-sig drops the byte order mark that spreadsheets write
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next((line for line in iter(file.readline, "") if line.strip()), "")
        file.seek(0)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        limit = csv.field_size_limit(LONGEST_CELL)
        try:
            columns = distinct_columns(path, next((values for values in reader if values), ()))
            rows = []
            for values in reader:
                position = f"{path}, line {reader.line_num}"
                if not values:
                    continue
                if len(values) != len(columns):
                    raise InputError(f"{position}: {len(values)} values where the header has {len(columns)} columns.")
                rows.append((position, dict(zip(columns, values, strict=True))))
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: this is no proper CSV ({error}).") from error
        finally:
            csv.field_size_limit(limit)
    return Table(path, columns, tuple(rows))
