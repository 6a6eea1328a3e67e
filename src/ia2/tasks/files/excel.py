"""Excel workbooks, read with openpyxl (the extra `excel`)."""

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ia2.errors import InputError
from ia2.tasks.files.header import table_under
from ia2.tasks.files.table import Table


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
    try:
        import openpyxl
    except ImportError as error:
        raise InputError(f"{path}: this needs openpyxl. Install it: pip install 'ia2[excel]'.") from error
    try:
        with warnings.catch_warnings():
            # of styles and drop-down lists that it leaves out
            warnings.simplefilter("ignore", UserWarning)
            workbook = openpyxl.load_workbook(path, read_only=True, data_only=True)
            try:
                titles = [sheet.title for sheet in workbook.worksheets]
                lines = _filled_rows(workbook.worksheets[0]) if titles else []
            finally:
                workbook.close()
    except Exception as error:  # archives, XML and openpyxl's own parts have errors of many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{path}: this is no Excel workbook that can be read ({reason}). Save it as .xlsx without a password."
        ) from error
    if not titles:
        raise InputError(f"{path}: this workbook has no sheet of cells. Put the rows into its first one.")
    notes: tuple[str, ...] = ()
    if others := titles[1:]:
        notes = (f"{path.name}: the first sheet, {titles[0]!r}, is read; not {', '.join(map(repr, others))}.",)
    if not lines:
        return Table(path, (), (), notes)
    positions = [(f"{path}, row {number}", cells) for number, cells in lines]
    return table_under(path, positions[0], positions[1:], notes)


def _filled_rows(sheet: Any) -> list[tuple[int, list[Any]]]:
    """The number and cells of each row that holds something, all as wide as the widest of them."""
    # some programs write a wrong size, which would cut the sheet
    sheet.reset_dimensions()
    rows = [(number, _to_the_last(values)) for number, values in enumerate(sheet.iter_rows(values_only=True), start=1)]
    width = max((len(cells) for _, cells in rows), default=0)
    return [(number, cells + [None] * (width - len(cells))) for number, cells in rows if cells]


def _to_the_last(values: Iterable[Any]) -> list[Any]:
    """A row's cells up to the last that isn't blank."""
    cells = list(values)
    while cells and (cells[-1] is None or cells[-1] == ""):
        cells.pop()
    return cells
