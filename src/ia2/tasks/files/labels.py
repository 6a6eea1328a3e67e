"""What the responses of rows are: labels or free text, and which labels look like a mistake."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ia2.errors import InputError
from ia2.tasks.files.table import Table, cell_of, cell_text
from ia2.tasks.task import Example, RowForm

MANY_LABELS = 10
"""Above this number of distinct responses, they may be free text."""
LONG_LABEL = 30
"""Above this mean length in characters, many distinct responses are taken for free text."""
NO_CATEGORY = "-1"
"""What pandas writes for a missing category, beside the codes 0, 1, 2, … of the others."""


def labels_of(
    path: Path,
    examples: Sequence[Example],
    form: RowForm,
    kind: Literal["label", "text"] | None,
    notes: list[str],
) -> tuple[str, ...]:
    """The labels of rows, sorted; none where responses are free text.

    Of texts with labels, responses are free text where there are more than ten different ones, more than half as many
    as rows, of over 30 characters on average. Of prompts, instructions and conversations they are free text unless
    there are at most ten, no more than half as many as rows, of at most 30 characters on average.

    Args:
        path: the rows' file.
        examples: the rows.
        form: how they became queries.
        kind: what responses are, where the user has said it.
        notes: a choice is added here as a sentence, and labels that are nearly the same.

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
    """The table with pandas' code for a missing category, -1, taken for a missing value, and a note that says so.

    It is where the file says that the column holds such codes, or where whole numbers from -1 to 2 or more are all
    that it holds. From -1 to 1 it may also be a label, such as of sentiment, and a note asks to look.

    Args:
        table: the rows.
        column: the column of labels.
        notes: what was chosen is added here as a sentence.
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
    """Labels that differ in nothing but case and spaces, as parts of sentences."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike["".join(label.casefold().split())].append(repr(label.strip()))
    return [" and ".join(group) for group in alike.values() if len(group) > 1]
