"""A table of plain values, which each format of a report shows in its own way."""

from collections.abc import Sequence
from dataclasses import dataclass

Value = str | int | float | None
"""A text, a number, or nothing."""


@dataclass(frozen=True)
class Column:
    """What stands under a heading."""

    heading: str
    numbers: str | None = None
    """How its numbers are printed, as `format` takes it; None where there are texts."""

    def text(self, value: Value) -> str:
        """A value as it is printed; a dash for nothing."""
        if value is None:
            return "–"
        return value if isinstance(value, str) else format(value, self.numbers or "")


@dataclass(frozen=True)
class Listing:
    """Rows of values under headings."""

    title: str
    caption: str
    """How it is to be read, in a sentence or two."""
    columns: tuple[Column, ...]
    rows: tuple[tuple[Value, ...], ...]

    @property
    def texts(self) -> list[list[str]]:
        """Every row as it is printed."""
        return [[column.text(value) for column, value in zip(self.columns, row, strict=True)] for row in self.rows]


def without_empty_columns(listing: Listing, optional: Sequence[str]) -> Listing:
    """The same without those of the named columns that hold nothing, or the same text in every row.

    Args:
        listing: the table.
        optional: headings of columns that may go.
    """
    kept = []
    for place, column in enumerate(listing.columns):
        values = {row[place] for row in listing.rows}
        alike = values <= {None} or (len(values) == 1 and column.numbers is None)
        if column.heading not in optional or not alike:
            kept.append(place)
    rows = tuple(tuple(row[place] for place in kept) for row in listing.rows)
    return Listing(listing.title, listing.caption, tuple(listing.columns[place] for place in kept), rows)
