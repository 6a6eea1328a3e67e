"""Reads and writes Excel workbooks with openpyxl (the extra `excel`)."""

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
"""Maximum number of characters in a cell."""
MOST_ROWS = 1_048_575
"""Maximum number of rows in a sheet, without the header row."""
EXACT = 10**15
"""Largest integer that a workbook stores exactly; Excel rounds longer ones, such as the ids of posts."""
UNWRITABLE = re.compile(r"[\x00-\x08\x0b-\x1f]|_(?=x[0-9A-Fa-f]{4}_)")
"""Characters that a workbook's XML can't represent, and underscores that would start an escape code."""
CODE = re.compile("_x(?![dD][89a-fA-F])([0-9A-Fa-f]{4})_")
"""Escape code of such a character (ECMA-376, ST_Xstring); surrogates are excluded."""
UNDATED = re.compile(r"Cell (\w+) is marked as a date but the serial value")
"""openpyxl's warning when it changes a value."""
TIME_OF_WRITING = re.compile(rb"(?<=>)\d{4}-\d\d-\d\dT[\d:]+Z(?=<)")


def read_excel(path: Path) -> Table:
    """Read the first sheet of a workbook; its first non-blank row is the header.

    Formulas are read as their last saved value.

    Raises:
        InputError: openpyxl isn't installed, the file isn't a workbook or has no sheet with cells, or two columns share
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
            # warnings on skipped styles and drop-down lists are ignored, those on changed values are reported
            warnings.simplefilter("always", UserWarning)
            workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
            try:
                titles = [sheet.title for sheet in workbook.worksheets]
                lines = _filled_rows(workbook.worksheets[0]) if titles else []
            finally:
                workbook.close()
    except Exception as error:  # archives, XML and openpyxl raise many kinds of errors
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
    """Write a workbook with one sheet and a header row; the same rows give the same bytes.

    All text is stored as text, even if it begins with `=` like a formula. Values that a cell can't hold are stored as
    text: objects and lists as JSON, integers over 15 digits, and times with a time zone.

    Args:
        file: the file to write to.
        path: the final path, for error messages.
        columns: column names, in order.
        rows: each row's values by column.

    Raises:
        InputError: openpyxl isn't installed, or a text or the number of rows exceeds a workbook's limit.

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
    # openpyxl stores the time of writing, in one part and for every part
    with ZipFile(saved) as dated, ZipFile(file, "w") as undated:
        for part in dated.infolist():
            content = dated.read(part)
            if part.filename == "docProps/core.xml":
                content = TIME_OF_WRITING.sub(b"1980-01-01T00:00:00Z", content)
            undated.writestr(ZipInfo(part.filename), content, compress_type=ZIP_DEFLATED)


def _check_size(path: Path) -> None:
    """Refuse a workbook that unpacks to far more than a sheet holds. Raises ValueError, or an archive's own errors."""
    with ZipFile(path) as archive:
        # unpacking never exceeds the sizes declared here
        unpacked = sum(part.file_size for part in archive.infolist())
    check_unpacked(unpacked, path.stat().st_size)


def _openpyxl(path: Path) -> Any:
    try:
        import openpyxl
    except ImportError as error:
        raise InputError(f"{path}: this needs openpyxl. Install it: pip install 'ia2[excel]'.") from error
    return openpyxl


def _fill(cell: Any, value: Any, position: str) -> None:
    """Set a cell's value, with text never as a formula. Raises InputError as `write_excel`."""
    value = _cell_value(value)
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        # openpyxl would truncate it
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
    """Return the value in a type that a cell can hold."""
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
    """Return the number and cells of each non-blank row, padded to the widest."""
    # some programs write wrong dimensions, which would truncate the sheet
    sheet.reset_dimensions()
    rows = [(number, _to_the_last(values)) for number, values in enumerate(sheet.iter_rows(values_only=True), start=1)]
    width = max((len(cells) for _, cells in rows), default=0)
    return [(number, cells + [None] * (width - len(cells))) for number, cells in rows if cells]


def _to_the_last(values: Iterable[Any]) -> list[Any]:
    """Return a row's cells up to the last non-blank one, with escape codes in texts decoded."""
    cells = [CODE.sub(lambda match: chr(int(match[1], 16)), cell) if isinstance(cell, str) else cell for cell in values]
    while cells and (cells[-1] is None or cells[-1] == ""):
        cells.pop()
    return cells
