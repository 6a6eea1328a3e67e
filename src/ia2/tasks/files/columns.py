"""Which column of a table holds the texts and which the labels: named, or guessed where only one can be meant."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

from ia2.errors import InputError
from ia2.tasks.files.table import Table

Role = Literal["text", "label"]

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


def find_column(table: Table, role: Role, named: str | None, notes: list[str], other: str | None = None) -> str:
    """The column of a table that holds its texts, or its labels.

    A column that isn't named is guessed where only one can be meant: the one whose name is a usual one for the role,
    or, where there are two columns, the one that the other role doesn't take.

    Args:
        table: the rows.
        role: what the column is to hold.
        named: the column's name, where the user gave it.
        notes: a guess is added here as a sentence.
        other: the column named for the other role, if any.

    Raises:
        InputError: there is no column of that name, or none or several could be meant.

    Example:
        >>> notes = []
        >>> find_column(Table(Path("rows.csv"), ("Review", "mark"), ()), "text", None, notes), notes
        ('Review', ["rows.csv: 'Review' is taken for the text."])
    """
    columns = ", ".join(table.columns)
    if named is not None:
        if named not in table.columns:
            raise InputError(f"{table.path}: no column is called {named!r}. Columns: {columns}.")
        return named
    candidates = [column for column in table.columns if column.strip().lower() in USUAL_NAMES[role]]
    if not candidates and len(table.columns) == 2:
        others_names = USUAL_NAMES["label" if role == "text" else "text"]
        remaining = [
            column for column in table.columns if column != other and column.strip().lower() not in others_names
        ]
        candidates = remaining if len(remaining) == 1 else []
    if len(candidates) != 1:
        finding = f"more than one column looks ({', '.join(candidates)})" if candidates else "no column looks"
        raise InputError(f"{table.path}: {finding} like the {role}. Columns: {columns}. Name it with --{role} COLUMN.")
    notes.append(f"{table.path.name}: {candidates[0]!r} is taken for the {role}.")
    return candidates[0]
