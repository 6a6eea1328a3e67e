"""Labelled rows of a file as a task: its columns, its labels, and notes on what was guessed and left out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ia2.errors import InputError
from ia2.tasks.files.columns import find_column
from ia2.tasks.files.registry import read_table
from ia2.tasks.files.table import Table, cell_text
from ia2.tasks.task import Example, Task, rows_digest, without_repeats

ResponseKind = Literal["label", "text"]

TEMPLATE = "Text:{text}\nLabel:"
"""How a text becomes a query."""
MANY_LABELS = 10
"""Above this number of distinct responses, they may be free text."""
LONG_LABEL = 30
"""Above this mean length in characters, many distinct responses are taken for free text."""
MAX_NEW_TOKENS = 200
"""Length limit of a free-text response in tokens."""


@dataclass(frozen=True)
class _Columns:
    """The columns that hold the texts and the labels."""

    text: str
    label: str


def load_file(
    path: Path | str,
    *,
    text: str | None = None,
    label: str | None = None,
    evaluation_path: Path | str | None = None,
    response_kind: ResponseKind | None = None,
) -> Task:
    r"""Load labelled rows from a file as a task.

    Columns that aren't named are guessed (`find_column`). Responses are taken for free text where there are more than
    ten different ones, more than half as many as rows, of over 30 characters on average; else they are labels. The
    task's notes say what was guessed and how many rows were left out.

    Args:
        path: the file; its ending says which format it has.
        text: the column of texts.
        label: the column of labels, or of responses.
        evaluation_path: a second file with the same columns to evaluate on; its texts are left out of the first.
        response_kind: whether responses are labels or free text.

    Raises:
        InputError: a file isn't there or can't be read, columns can't be found, no row is left, or there is one label.

    Example:
        >>> _ = Path("reviews.csv").write_text("review,stars\ngreat food,5\ncold soup,1\n")
        >>> task = load_file("reviews.csv")
        >>> task.labels, task.pool[0]
        ((' 1', ' 5'), Example(query='Text:great food\nLabel:', response=' 5'))
        >>> task.notes
        ("reviews.csv: 'review' is taken for the text.", "reviews.csv: 'stars' is taken for the label.")
    """
    table = read_table(Path(path))
    notes: list[str] = []
    columns = _Columns(
        find_column(table, "text", text, notes, other=label), find_column(table, "label", label, notes, other=text)
    )
    if columns.text == columns.label:
        raise InputError(f"{table.path}: {columns.text!r} can't be both the text and the label. Name another column.")
    pool = _examples(table, columns, notes)
    labels = _labels(table, pool, response_kind, notes)
    evaluation: tuple[Example, ...] = ()
    if evaluation_path is not None:
        evaluation = _evaluation_rows(Path(evaluation_path), table, columns, notes)
        pool = _not_evaluated(pool, evaluation, table, evaluation_path, notes)
        if labels and (unknown := sorted({example.response for example in evaluation}.difference(labels))):
            unknown_label = unknown[0].strip()
            raise InputError(f"{evaluation_path}: the label {unknown_label!r} is not among those of {table.path.name}.")
    return Task(
        name=table.path.stem,
        description=f"{columns.label} of {columns.text}",
        source=f"file {table.path.name}, sha256:{rows_digest(pool, evaluation)}",
        labels=labels,
        pool=pool,
        evaluation=evaluation,
        max_new_tokens=1 if labels else MAX_NEW_TOKENS,
        stop=None if labels else "\n\n",
        template=TEMPLATE,
        text_column=columns.text,
        as_written=True,
        notes=tuple(notes),
    )


def query_of(text: str) -> str:
    r"""The query of a text in a user's file.

    Example:
        >>> query_of("a fine film")
        'Text:a fine film\nLabel:'
    """
    return TEMPLATE.replace("{text}", text)


def _evaluation_rows(path: Path, table: Table, columns: _Columns, notes: list[str]) -> tuple[Example, ...]:
    """The rows of the second file, whose columns must be those of the first."""
    evaluation_table = read_table(path)
    for option, column in (("text", columns.text), ("label", columns.label)):
        if column not in evaluation_table.columns:
            raise InputError(f"{path}: no column {column!r}, which {table.path.name} has as its {option}.")
    return _examples(evaluation_table, columns, notes)


def _not_evaluated(
    pool: tuple[Example, ...],
    evaluation: tuple[Example, ...],
    table: Table,
    evaluation_path: Path | str,
    notes: list[str],
) -> tuple[Example, ...]:
    """The pool without the texts that are evaluated."""
    evaluated_queries = {example.query for example in evaluation}
    remaining = tuple(example for example in pool if example.query not in evaluated_queries)
    if len(remaining) < len(pool):
        notes.append(f"{table.path.name}: {len(pool) - len(remaining)} rows are also evaluated and were left out.")
    if not remaining:
        raise InputError(f"{evaluation_path}: it holds every text of {table.path.name}, so that none is left to learn.")
    return remaining


def _labels(table: Table, examples: Sequence[Example], kind: ResponseKind | None, notes: list[str]) -> tuple[str, ...]:
    """The labels, sorted; none where responses are free text."""
    responses = [example.response for example in examples]
    distinct = sorted(set(responses))
    if kind is None:
        many = len(distinct) > MANY_LABELS and 2 * len(distinct) > len(responses)
        kind = "text" if many and sum(map(len, responses)) > LONG_LABEL * len(responses) else "label"
        if kind == "text":
            notes.append(f"{table.path.name}: {len(distinct)} different, long labels are taken for free text.")
    if kind == "text":
        return ()
    if len(distinct) == 1:
        raise InputError(f"{table.path}: every row has the label {distinct[0].strip()!r}; at least two are needed.")
    return tuple(distinct)


def _examples(table: Table, columns: _Columns, notes: list[str]) -> tuple[Example, ...]:
    """The rows that have both a text and a label, each text once."""
    examples = []
    for position, row in table.rows:
        text, label = (cell_text(row.get(column), position, column) for column in (columns.text, columns.label))
        if text and label:
            examples.append(Example(query_of(text), f" {label}"))
    if incomplete := len(table.rows) - len(examples):
        notes.append(f"{table.path.name}: {incomplete} rows without a text or a label were left out.")
    if not examples:
        raise InputError(f"{table.path}: no row has both a {columns.text!r} and a {columns.label!r}.")
    distinct = without_repeats(examples)
    if repeats := len(examples) - len(distinct):
        labels_of_query = Counter(query for query, _ in {(example.query, example.response) for example in examples})
        contradictions = sum(count > 1 for count in labels_of_query.values())
        contradiction = f" ({contradictions} of these texts have different labels)" if contradictions else ""
        notes.append(f"{table.path.name}: {repeats} rows repeat a text and were left out{contradiction}.")
    return distinct
