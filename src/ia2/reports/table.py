"""A table of a report: one model of it, which every format of a report shows in its own way."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from ia2.records import Record

Value = str | int | float | None
"""A text, a number, or nothing."""
NOTHING = "–"
"""What stands where there is no value."""


@dataclass(frozen=True)
class Origin:
    """A record that a number was computed from."""

    text: str
    """The set, and the record's own value."""
    record: Record


@dataclass(frozen=True)
class Number:
    """What CSV lists of a cell in a line of its own, besides the cell's value."""

    setting: tuple[str | int | bool, ...]
    """Model, adapter, label source, N, source, evaluation task, and whether these two differ."""
    method: str
    measure: str
    sets: int
    """How many values it is the mean of."""
    records: tuple[Record, ...] = ()
    """What it was computed from."""
    spread: float | None = None
    """The standard deviation in the value's unit; None of a single set."""
    best: bool | None = None
    """Whether no other method is better; None where that isn't asked."""
    lr: float | None = None
    beta: float | None = None
    paper: float | None = None
    paper_spread: float | None = None
    """The paper's standard deviation, in the value's unit."""
    difference: float | None = None
    """Ours, as printed, less the paper's."""
    differing: str = ""
    """What its records were made with differently."""


@dataclass(frozen=True)
class Cell:
    """What stands in a row under a heading."""

    text: str
    """As it is printed."""
    value: Value
    """Without the text's rounding; None where nothing was measured."""
    best: bool = False
    """Whether it is printed in bold."""
    beside: str = ""
    """What stands behind it: the paper's number, and how far ours is from it."""
    chosen: str = ""
    """The learning rate and β that were chosen."""
    origins: tuple[Origin, ...] = ()
    """The records that the page opens it to."""
    number: Number | None = None
    """Its line in CSV; None of what names a row, or stands in another table too."""


@dataclass(frozen=True)
class Column:
    """What stands under a heading."""

    heading: str
    numbers: str | None = None
    """How its numbers are printed, as `format` takes it; None where there are texts."""
    over: str = ""
    """What its heading shares with those beside it: the method whose measures they are."""
    better: Literal["higher", "lower"] | None = None
    """Which of its numbers are the better ones, where that is to be shown."""
    dropped: int = 0
    """How early it is left out of a terminal that is too narrow: the largest number first, 0 never."""
    explained: str = ""
    """What its numbers are, where the heading doesn't say it; a clause of the table's caption."""

    @property
    def whole_heading(self) -> str:
        """The heading in one line."""
        return f"{self.over} {self.heading}" if self.over else self.heading

    @property
    def numeric(self) -> bool:
        """Whether there are numbers in it."""
        return self.numbers is not None

    def cell(self, value: Value, number: Number | None = None) -> Cell:
        """A value as it is printed in this column; a dash for nothing.

        Args:
            value: the value.
            number: its line in CSV.
        """
        if value is None:
            return Cell(NOTHING, None, number=number)
        return Cell(value if isinstance(value, str) else format(value, self.numbers or ""), value, number=number)


@dataclass(frozen=True)
class RowGroup:
    """Rows that have their first cells in common."""

    heading: str
    """These cells in words; empty where the table has no groups."""
    rows: tuple[tuple[Cell, ...], ...]
    """The rows without these cells."""


@dataclass(frozen=True)
class Table:
    """Rows of cells under headings."""

    title: str
    caption: str
    """How it is to be read, whatever its columns; empty where a report's notes say it of several tables."""
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    grouped: int = 0
    """How many first columns say what rows one below the other have in common, where a format shows them as a group."""

    @classmethod
    def of(cls, title: str, caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Value]]) -> "Table":
        """A table of plain values."""
        made = (tuple(column.cell(value) for column, value in zip(columns, row, strict=True)) for row in rows)
        return cls(title, caption, tuple(columns), tuple(made))

    @property
    def whole_caption(self) -> str:
        """How it is to be read, and what each of its columns holds where that is explained."""
        clauses = dict.fromkeys([self.caption, *(column.explained for column in self.columns)])
        return "; ".join(filter(None, clauses))

    @property
    def headings(self) -> list[str]:
        """Each column's heading in one line."""
        return [column.whole_heading for column in self.columns]

    @property
    def groups(self) -> list[RowGroup]:
        """The rows by what they have in common, each without the cells that say it."""
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
        """Every row as it is printed."""
        return [[cell.text for cell in row] for row in self.rows]

    def without_column(self, position: int) -> "Table":
        """The same without one column."""
        return self._with_columns([index for index in range(len(self.columns)) if index != position])

    def without_empty_columns(self, optional: Sequence[str]) -> "Table":
        """The same without those of the named columns that hold nothing, or the same text in every row.

        Args:
            optional: headings of columns that may go.
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
