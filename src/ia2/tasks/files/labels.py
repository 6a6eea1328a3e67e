"""Deciding whether responses are labels or free text, and finding labels that look like mistakes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ia2.errors import InputError
from ia2.tasks.files.table import Table, cell_of, cell_text
from ia2.tasks.task import Example, RowForm

MANY_LABELS = 10
"""Responses may be free text if more than this many are distinct."""
LONG_LABEL = 30
"""Many distinct responses are taken for free text if their mean length in characters is above this."""
NO_CATEGORY = "-1"
"""pandas' code for a missing category; the categories have the codes 0, 1, 2, …"""


def labels_of(
    path: Path,
    examples: Sequence[Example],
    form: RowForm,
    kind: Literal["label", "text"] | None,
    notes: list[str],
) -> tuple[str, ...]:
    """Return the sorted labels of rows, or an empty tuple if responses are free text.

    In the labelled form, responses are free text if more than ten are distinct, the distinct ones are more than half as
    many as the rows, and the mean length is over 30 characters. In the other forms, one of these conditions is enough,
    and so is a single distinct response.

    Args:
        path: the file of the rows.
        examples: the rows.
        form: the form of the rows.
        kind: what responses are, if the user said so.
        notes: a sentence is appended here for a guess, and for labels that are nearly the same.

    Raises:
        InputError: all rows have the same label.

    Example:
        >>> rows = [Example("a", " yes"), Example("b", " Yes")]
        >>> notes = []
        >>> labels_of(Path("rows.csv"), rows, "labelled", None, notes), notes
        ((' Yes', ' yes'), ["rows.csv: 'Yes' and 'yes' are different labels."])
    """
    distinct = sorted({example.response for example in examples})
    if kind is None:
        kind = _guessed_kind(path.name, distinct, examples, form, notes)
    if kind == "text":
        return ()
    if len(distinct) == 1:
        raise InputError(
            f"{path}: every row has the label {distinct[0].strip()!r}; use at least two labels, or the response kind "
            "text."
        )
    notes += [f"{path.name}: {alike} are different labels." for alike in _nearly_the_same(distinct)]
    return tuple(distinct)


def without_missing_codes(table: Table, column: str, notes: list[str]) -> Table:
    """Return the table with pandas' code for a missing category, -1, replaced by a missing value, and add a note.

    The code is recognised if the file says that the column holds category codes, or if its values are exactly the
    integers from -1 to 2 or more. Values from -1 to 1 may also be labels, such as of sentiment: the table is unchanged,
    and the note asks the user to check.

    Args:
        table: the rows.
        column: the label column.
        notes: a sentence is appended here for the choice.
    """
    values = [cell_text(cell_of(row, column), position, column) for position, row in table.rows]
    distinct = set(values) - {""}
    if distinct != {str(code) for code in range(-1, len(distinct) - 1)} or len(distinct) < 3:
        return table
    if len(distinct) == 3 and column not in table.category_codes:
        notes.append(
            f"{table.path.name}: '-1' in {column!r} is read as a label; leave it empty if it is pandas' code for a "
            "missing category."
        )
        return table
    count = values.count(NO_CATEGORY)
    notes.append(
        f"{table.path.name}: '-1' in {column!r} ({count} rows) is read as a missing value, as in pandas' category "
        "codes; write labels as words if it is a label."
    )
    rows = tuple(
        (position, {**row, column: None} if value == NO_CATEGORY else row)
        for value, (position, row) in zip(values, table.rows, strict=True)
    )
    return replace(table, rows=rows)


def _guessed_kind(
    name: str, distinct: Sequence[str], examples: Sequence[Example], form: RowForm, notes: list[str]
) -> Literal["label", "text"]:
    total = len(examples)
    many, rarely_repeated = len(distinct) > MANY_LABELS, 2 * len(distinct) > total
    long = sum(len(example.response) for example in examples) > LONG_LABEL * total
    if form == "labelled":
        if not (many and rarely_repeated and long):
            return "label"
        notes.append(f"{name}: {len(distinct)} different, long labels are read as free text.")
        return "text"
    if many or rarely_repeated or long or len(distinct) == 1:
        return "text"
    notes.append(f"{name}: responses are read as labels, as there are only {len(distinct)} different, short ones.")
    return "label"


def _nearly_the_same(labels: Sequence[str]) -> list[str]:
    """Return groups of labels that differ only in case and spaces, each joined as `'a' and 'A'`."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike["".join(label.casefold().split())].append(repr(label.strip()))
    return [" and ".join(group) for group in alike.values() if len(group) > 1]
