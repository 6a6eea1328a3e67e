"""The model of a report's table, shared by all report formats."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from ia2.records import Record

Value = str | int | float | None
"""A text, a number, or no value."""
NOTHING = "–"
"""Placeholder for a missing value."""


@dataclass(frozen=True)
class Origin:
    """A record behind a number."""

    text: str
    """The set, and the record's value."""
    record: Record


@dataclass(frozen=True)
class Number:
    """A cell's own row in CSV, with more than the cell's value."""

    setting: tuple[str | int | bool, ...]
    """Model, adapter, label source, N, source, evaluation task, and whether the two tasks differ."""
    method: str
    measure: str
    sets: int
    """Number of values in the mean."""
    records: tuple[Record, ...] = ()
    """The records behind the number."""
    spread: float | None = None
    """Standard deviation in the value's unit; None for a single set."""
    best: bool | None = None
    """Whether no other method is better; None if the table doesn't mark the best."""
    lr: float | None = None
    beta: float | None = None
    paper: float | None = None
    paper_spread: float | None = None
    """The paper's standard deviation, in the value's unit."""
    difference: float | None = None
    """Our value as printed minus the paper's."""
    differing: str = ""
    """Differences in the conditions of the records."""


@dataclass(frozen=True)
class Cell:
    """A table cell."""

    text: str
    """Printed text."""
    value: Value
    """Value without the text's rounding; None if nothing was measured."""
    best: bool = False
    """Whether it is printed in bold."""
    beside: str = ""
    """Note after the text: the paper's number and our difference from it."""
    chosen: str = ""
    """The chosen learning rate and β."""
    origins: tuple[Origin, ...] = ()
    """Records listed when the cell is expanded on the HTML page."""
    number: Number | None = None
    """CSV row; None for a cell that names a row, or is also in another table."""


@dataclass(frozen=True)
class Column:
    """A table column."""

    heading: str
    numbers: str | None = None
    """Format specification of its numbers, as for `format`; None for text."""
    over: str = ""
    """Heading shared with neighbouring columns: the method of these measures."""
    better: Literal["higher", "lower"] | None = None
    """Whether higher or lower numbers are better, if the table shows it."""
    dropped: int = 0
    """Order in which columns are dropped in a narrow terminal: highest first, 0 never."""
    explained: str = ""
    """Explanation of its numbers, as a clause of the caption; empty if the heading suffices."""

    @property
    def whole_heading(self) -> str:
        """Return the heading in one line."""
        return f"{self.over} {self.heading}" if self.over else self.heading

    @property
    def numeric(self) -> bool:
        """Return whether the column holds numbers."""
        return self.numbers is not None

    def cell(self, value: Value, number: Number | None = None) -> Cell:
        """Return a cell with the value as printed in this column; a dash for None.

        Args:
            value: the value.
            number: its CSV row.
        """
        if value is None:
            return Cell(NOTHING, None, number=number)
        return Cell(value if isinstance(value, str) else format(value, self.numbers or ""), value, number=number)


@dataclass(frozen=True)
class RowGroup:
    """Rows that share their first cells."""

    heading: str
    """The shared cells in words; empty if the table has no groups."""
    rows: tuple[tuple[Cell, ...], ...]
    """The rows without the shared cells."""


@dataclass(frozen=True)
class Table:
    """A table with columns and rows of cells."""

    title: str
    caption: str
    """How to read the table, apart from its columns; empty if a report's notes explain it."""
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    grouped: int = 0
    """Number of leading columns by which formats may group consecutive rows."""

    @classmethod
    def of(cls, title: str, caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Value]]) -> "Table":
        """Build a table from plain values."""
        made = (tuple(column.cell(value) for column, value in zip(columns, row, strict=True)) for row in rows)
        return cls(title, caption, tuple(columns), tuple(made))

    @property
    def whole_caption(self) -> str:
        """Return the caption, with explanations of columns that have one."""
        clauses = dict.fromkeys([self.caption, *(column.explained for column in self.columns)])
        return "; ".join(filter(None, clauses))

    @property
    def headings(self) -> list[str]:
        """Return each column's heading in one line."""
        return [column.whole_heading for column in self.columns]

    @property
    def groups(self) -> list[RowGroup]:
        """Return the rows in groups, without the cells that they share."""
        groups = []
        for texts, rows in groupby(self.rows, key=lambda row: [cell.text for cell in row[: self.grouped]]):
            named = (
                f"{column.heading} = {text}" if column.numeric else f"{column.heading} {text}"
                for column, text in zip(self.columns[: self.grouped], texts, strict=True)
            )
            groups.append(RowGroup(" · ".join(named), tuple(row[self.grouped :] for row in rows)))
        return groups

    @property
    def texts(self) -> list[list[str]]:
        """Return the printed text of every row."""
        return [[cell.text for cell in row] for row in self.rows]

    def without_column(self, position: int) -> "Table":
        """Return the table without one column."""
        return self._with_columns([index for index in range(len(self.columns)) if index != position])

    def without_empty_columns(self, optional: Sequence[str]) -> "Table":
        """Return the table without those optional columns that are empty, or have the same text in every row.

        Args:
            optional: headings of columns that may be removed.
        """
        shown = []
        for index, column in enumerate(self.columns):
            values = {row[index].value for row in self.rows}
            alike = values <= {None} or (len(values) == 1 and not column.numeric)
            if column.heading not in optional or not alike:
                shown.append(index)
        return self._with_columns(shown)

    def _with_columns(self, positions: Sequence[int]) -> "Table":
        return replace(
            self,
            columns=tuple(self.columns[position] for position in positions),
            rows=tuple(tuple(row[position] for position in positions) for row in self.rows),
            grouped=sum(position < self.grouped for position in positions),
        )
