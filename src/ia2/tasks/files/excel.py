"""Excel workbooks, read and written with openpyxl (the extra `excel`)."""

import io
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from ia2.errors import InputError
from ia2.tasks.files.header import table_under
from ia2.tasks.files.table import Row, Table
from ia2.unpacking import check_unpacked

LONGEST_TEXT = 32_767
"""Characters that a cell holds."""
MOST_ROWS = 1_048_575
"""Rows that a sheet holds below the one that names its columns."""
EXACT = 10**15
"""Whole numbers up to here are exact in a workbook; Excel itself rounds longer ones, such as the ids of posts."""
UNWRITABLE = re.compile(r"[\x00-\x08\x0b-\x1f]|_(?=x[0-9A-Fa-f]{4}_)")
"""Characters that a workbook's XML can't hold, and what would be read as the code of one."""
CODE = re.compile("_x(?![dD][89a-fA-F])([0-9A-Fa-f]{4})_")
"""How a workbook writes such a character (ECMA-376, ST_Xstring); half of one from beyond 16 bits is none."""
UNDATED = re.compile(r"Cell (\w+) is marked as a date but the serial value")
"""What openpyxl warns of where it changes a value."""
TIME_OF_WRITING = re.compile(rb"(?<=>)\d{4}-\d\d-\d\dT[\d:]+Z(?=<)")


def read_excel(path: Path) -> Table:
    """Read the first sheet of a workbook, whose first row that isn't blank names the columns.

    Of a formula the value is taken that was saved with it.

    Raises:
        InputError: openpyxl isn't installed, this is no workbook or one without a sheet of cells, or two columns share
            a name.

    Example:
        >>> import openpyxl
        >>> workbook = openpyxl.Workbook()
        >>> for row in (["text", "label"], ["a fine film", 1]):
        ...     workbook.active.append(row)
        >>> workbook.save("rows.xlsx")
        >>> read_excel(Path("rows.xlsx")).rows
        (('rows.xlsx, row 2', {'text': 'a fine film', 'label': 1}),)
    """
    openpyxl = _openpyxl(path)
    try:
        _check_size(path)
        with warnings.catch_warnings(record=True) as warned:
            # of styles and drop-down lists that it leaves out, which nobody reads here, and of values, which are said
            warnings.simplefilter("always", UserWarning)
            workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
            try:
                titles = [sheet.title for sheet in workbook.worksheets]
                lines = _filled_rows(workbook.worksheets[0]) if titles else []
            finally:
                workbook.close()
    except Exception as error:  # archives, XML and openpyxl's own parts have errors of many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: this is not a readable Excel workbook ({reason}). Save it as .xlsx without a password."
        ) from error
    if not titles:
        raise InputError(f"{path}: this workbook has no worksheet. Put the rows into its first sheet.")
    notes: tuple[str, ...] = ()
    if others := titles[1:]:
        notes = (f"{path.name}: the first sheet, {titles[0]!r}, is read, but not {', '.join(map(repr, others))}.",)
    undated = [match[1] for warning in warned if (match := UNDATED.match(str(warning.message)))]
    if undated:
        more = f" and {len(undated) - 1} more" * (len(undated) > 1)
        notes += (
            f"{path.name}: {undated[0]}{more} is formatted as a date but its number is not one, so '#VALUE!' is "
            "read. Format it as a number.",
        )
    if not lines:
        return Table(path, (), (), notes)
    positions = [(f"{path}, row {number}", cells) for number, cells in lines]
    return table_under(path, positions[0], positions[1:], notes)


def write_excel(file: Path, path: Path, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Write a workbook of one sheet whose first row names the columns; the same rows give the same bytes.

    Every text is a text there, also one that begins with `=`, which is no formula. What a cell can't hold stands as
    text: objects and lists as JSON, whole numbers over 15 digits, times with a zone.

    Args:
        file: where it is written.
        path: the file it will be, for error messages.
        columns: their names, in order.
        rows: the values of each row by column.

    Raises:
        InputError: openpyxl isn't installed, or a text or the number of rows is more than a workbook holds.

    Example:
        >>> write_excel(Path("rows.xlsx"), Path("rows.xlsx"), ["text"], [{"text": "=1+1"}])
        >>> read_excel(Path("rows.xlsx")).rows
        (('rows.xlsx, row 2', {'text': '=1+1'}),)
    """
    openpyxl = _openpyxl(path)
    if len(rows) > MOST_ROWS:
        raise InputError(
            f"{path}: {len(rows)} rows are more than the {MOST_ROWS} that a sheet can hold. Write .csv instead."
        )
    workbook = openpyxl.Workbook()
    sheet = workbook.active
    for number, column in enumerate(columns, start=1):
        _fill(sheet.cell(1, number), column, f"{path}, row 1")
    for row_number, row in enumerate(rows, start=2):
        for number, column in enumerate(columns, start=1):
            _fill(sheet.cell(row_number, number), row.get(column), f"{path}, row {row_number}")
    saved = io.BytesIO()
    workbook.save(saved)
    # openpyxl notes when it wrote, in a part and of each part
    with ZipFile(saved) as dated, ZipFile(file, "w") as undated:
        for part in dated.infolist():
            content = dated.read(part)
            if part.filename == "docProps/core.xml":
                content = TIME_OF_WRITING.sub(b"1980-01-01T00:00:00Z", content)
            undated.writestr(ZipInfo(part.filename), content, compress_type=ZIP_DEFLATED)


def _check_size(path: Path) -> None:
    """Refuse a workbook that would unpack to far more than a sheet holds. Raises ValueError, or what archives raise."""
    with ZipFile(path) as archive:
        # nothing more is ever unpacked than is said here
        unpacked = sum(part.file_size for part in archive.infolist())
    check_unpacked(unpacked, path.stat().st_size)


def _openpyxl(path: Path) -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise InputError(f"{path}: this needs openpyxl. Install it: pip install 'ia2[excel]'.") from error
    return openpyxl


def _fill(cell: Any, value: Any, position: str) -> None:
    """Put a value into a cell; a text never as a formula. Raises InputError as `write_excel`."""
    value = _cell_value(value)
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        # openpyxl would cut it
        raise InputError(
            f"{position}: a text of {len(value)} characters is longer than the {LONGEST_TEXT} that a cell can hold. "
            "Write .jsonl instead."
        )
    if isinstance(value, str):
        cell.value = UNWRITABLE.sub(lambda match: f"_x{ord(match[0]):04X}_", value)
        cell.data_type = "s"
    else:
        cell.value = value


def _cell_value(value: Any) -> Any:
    """The value as a cell can hold it."""
    if isinstance(value, (Mapping, list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, float):
        return None if value != value else value if abs(value) != float("inf") else str(value)
    if isinstance(value, int):
        return value if abs(value) <= EXACT else str(value)
    zoneless = isinstance(value, (datetime, time)) and value.tzinfo is None
    if value is None or zoneless or (isinstance(value, date) and not isinstance(value, datetime)):
        return value
    return str(value)


def _filled_rows(sheet: Any) -> list[tuple[int, list[Any]]]:
    """The number and cells of each row that holds something, all as wide as the widest of them."""
    # some programs write a wrong size, which would cut the sheet
    sheet.reset_dimensions()
    rows = [(number, _to_the_last(values)) for number, values in enumerate(sheet.iter_rows(values_only=True), start=1)]
    width = max((len(cells) for _, cells in rows), default=0)
    return [(number, cells + [None] * (width - len(cells))) for number, cells in rows if cells]


def _to_the_last(values: Iterable[Any]) -> list[Any]:
    """A row's cells up to the last that isn't blank, with the characters that codes in their texts stand for."""
    cells = [CODE.sub(lambda match: chr(int(match[1], 16)), cell) if isinstance(cell, str) else cell for cell in values]
    while cells and (cells[-1] is None or cells[-1] == ""):
        cells.pop()
    return cells
