"""Which column of a table holds the texts and which the labels: named, or guessed where only one can be meant."""

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
"""The names that columns of texts and of labels usually have, in lower case."""
MOST_WORDS = 4
"""A name of more words is a sentence, in which a usual word says nothing."""
KEYS = frozenset({"id", "ids", "index", "number", "count", "length", "date", "time"})
"""Names that end so are of keys and measures, neither texts nor labels."""
ROLES: Mapping[str, Role] = MappingProxyType({name: role for role, names in USUAL_NAMES.items() for name in names})


def find_column(
    table: Table, role: Role, named: str | None, notes: list[str], other: str | None = None, advice: str | None = None
) -> str:
    """The column of a table that holds its texts, or its labels.

    A column that isn't named is guessed where only one can be meant: the one whose name is a usual one for the role;
    else the one whose name contains such a word; or, where there are two columns, the one that the other role doesn't
    take.

    Args:
        table: the rows.
        role: what the column is to hold.
        named: the column's name, where the user gave it; of a nested one a path such as `data.body`.
        notes: a guess is added here as a sentence.
        other: the column named for the other role, if any.
        advice: what to do where it can't be guessed; by default to name it.

    Raises:
        InputError: there is no column of that name, none or several could be meant, or the table has no header.

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
    """Refuse a table without a line that names its columns.

    Raises:
        InputError: no column has a usual name, and the first line looks like a row.
    """
    if table.first_line is None or any(words(column) in ROLES for column in table.columns):
        return
    if looks_like_a_row(table.columns, [list(row.values()) for _, row in table.rows]):
        raise missing_header(table.path, table.first_line, table.columns)


def words(column: str) -> str:
    """A column's name as words in lower case.

    Example:
        >>> [words(name) for name in (" Ticket_Text", "ticketText", "TICKET-TEXT")]
        ['ticket text', 'ticket text', 'ticket text']
    """
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column)
    return " ".join(re.split(r"[\W_]+", apart.casefold())).strip()


def _candidates(columns: tuple[str, ...], role: Role, other: str | None) -> list[str]:
    """The columns that can be meant."""
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
    """The role of the last usual word in a name, which says what the others only describe: `text category`."""
    name = words(column).split()
    if len(name) > MOST_WORDS or (name and name[-1] in KEYS):
        return None
    roles = [ROLES.get(word) or ROLES.get(word.removesuffix("s")) for word in name]
    return next((role for role in reversed(roles) if role is not None), None)
