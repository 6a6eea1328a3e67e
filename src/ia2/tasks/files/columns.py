"""Finding the text and label columns of a table: by name, or guessed where the choice is unambiguous."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from ia2.errors import InputError, printable
from ia2.tasks.files.header import USUAL_HEADER, looks_like_a_row, missing_header
from ia2.tasks.files.table import Table

Role = Literal["label", "text"]

USUAL_NAMES: Mapping[Role, tuple[str, ...]] = MappingProxyType(
    {
        "text": (
            "text", "sentence", "review", "content", "question", "query", "input", "prompt", "message", "comment",
        ),
        "label": (
            "label", "category", "class", "sentiment", "target", "answer", "response", "output", "intent", "topic",
        ),
    }
)  # fmt: skip
"""Usual names of text and label columns, in lower case."""
MOST_WORDS = 4
"""A longer column name is a sentence, in which a usual word is no evidence."""
KEYS = frozenset({"id", "ids", "index", "number", "count", "length", "date", "time"})
"""Last words of names that belong to keys and measures, neither texts nor labels."""
ROLES: Mapping[str, Role] = MappingProxyType({name: role for role, names in USUAL_NAMES.items() for name in names})


def find_column(
    table: Table, role: Role, named: str | None, notes: list[str], other: str | None = None, advice: str | None = None
) -> str:
    """Return the name of a table's text or label column.

    A column that isn't named is guessed if the choice is unambiguous: the column with a usual name for the role; else
    the column whose name contains such a word; else, in a table of two columns, the one that doesn't suit the other
    role.

    Args:
        table: the rows.
        role: what the column should hold.
        named: the column's name if the user gave it; for a nested column a path such as `data.body`.
        notes: a sentence is appended here for a guess.
        other: the column that the user named for the other role, if any.
        advice: what the error message suggests if the column can't be guessed; by default to name it.

    Raises:
        InputError: no column has that name, no column or several match, or the table has no header.

    Example:
        >>> notes = []
        >>> find_column(Table(Path("rows.csv"), ("Review", "mark"), ()), "text", None, notes), notes
        ('Review', ["rows.csv: 'Review' is used as the text."])
    """
    columns = ", ".join(map(printable, table.leaves))
    if named is not None:
        if named not in table.columns and named not in table.leaves:
            check_header(table)
            raise InputError(f"{table.path}: no column is called {named!r}. Columns: {columns}.")
        return named
    if other is None or other not in table.columns:
        check_header(table)
    candidates = _candidates(table.columns, role, other)
    if len(candidates) != 1:
        finding = (
            f"more than one column looks ({', '.join(map(printable, candidates))})" if candidates else "no column looks"
        )
        advice = advice or f"Name it with --{role} COLUMN"
        if table.first_line is not None and not candidates:
            advice += f"; if the first line is a row, put a header such as {USUAL_HEADER} above it"
        raise InputError(f"{table.path}: {finding} like the {role}. Columns: {columns}. {advice}.")
    notes.append(f"{table.path.name}: {candidates[0]!r} is used as the {role}.")
    return candidates[0]


def check_header(table: Table) -> None:
    """Refuse a table without a header line.

    Raises:
        InputError: no column has a usual name, and the first line looks like a row.
    """
    if table.first_line is None or any(words(column) in ROLES for column in table.columns):
        return
    if looks_like_a_row(table.columns, [list(row.values()) for _, row in table.rows]):
        raise missing_header(table.path, table.first_line, table.columns)


def words(column: str) -> str:
    """Return a column's name as separate words in lower case.

    Example:
        >>> [words(name) for name in (" Ticket_Text", "ticketText", "TICKET-TEXT")]
        ['ticket text', 'ticket text', 'ticket text']
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column)
    return " ".join(re.split(r"[\W_]+", apart.casefold())).strip()


def _candidates(columns: tuple[str, ...], role: Role, other: str | None) -> list[str]:
    """Return the columns that may have the role; empty if none or no unambiguous one."""
    free = [column for column in columns if column != other]
    exact = [column for column in free if ROLES.get(words(column)) == role]
    if exact:
        return exact
    if containing := [column for column in free if _role_within(column) == role]:
        return containing
    if len(columns) == 2:
        remaining = [column for column in free if _role_within(column) is None]
        return remaining if len(remaining) == 1 else []
    return []


def _role_within(column: str) -> Role | None:
    """Return the role of the last usual word in a name: earlier ones only qualify it, as in `text category`."""
    name = words(column).split()
    if len(name) > MOST_WORDS or (name and name[-1] in KEYS):
        return None
    roles = [ROLES.get(word) or ROLES.get(word.removesuffix("s")) for word in name]
    return next((role for role in reversed(roles) if role is not None), None)
