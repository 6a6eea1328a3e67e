"""Loading rows with responses as a task: row form, labels, and notes on what was guessed and left out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ia2.errors import InputError
from ia2.tasks.files.columns import find_column
from ia2.tasks.files.forms import FORMS, SAID, Form, labelled
from ia2.tasks.files.labels import labels_of, without_missing_codes
from ia2.tasks.files.registry import read_source, read_table, source_name, split_name
from ia2.tasks.files.saved import RowSource
from ia2.tasks.files.table import Table
from ia2.tasks.task import Example, Task, rows_digest, without_repeats

ResponseKind = Literal["label", "text"]

MAX_NEW_TOKENS = 200
"""Maximum length of a free-text response, in tokens."""
BLANK_LINE = "\n\n"


def load_file(
    path: Path | str,
    *,
    text: str | None = None,
    label: str | None = None,
    evaluation_path: Path | str | None = None,
    response_kind: ResponseKind | None = None,
    encoding: str | None = None,
) -> Task:
    r"""Load labelled rows as a task: from a file, a folder written by `save_to_disk`, or a dataset on the hub.

    Columns that aren't named are guessed (`find_column`), except for the known formats: `messages`; `prompt` and
    `completion`; `instruction`, `input` and `output`. Whether responses are labels or free text is guessed from their
    number and length (`labels_of`). The task's notes say what was guessed and left out.

    Args:
        path: the file, with its format as suffix; the folder; `hf:owner/name`, or `hf:owner/name:config:split`.
        text: the text column; for a nested one, a path such as `data.body`.
        label: the column of labels or responses.
        evaluation_path: a second file with the same columns to evaluate on; its texts are removed from the first. By
            default a dataset's test or validation split.
        response_kind: whether responses are labels or free text.
        encoding: the encoding of text files, by Python's name; by default it is detected.

    Raises:
        InputError: a file doesn't exist or can't be read, columns can't be found, no row is left, or there is only one
            label.

    Example:
        >>> _ = Path("reviews.csv").write_text("review,stars\ngreat food,5\ncold soup,1\n")
        >>> task = load_file("reviews.csv")
        >>> task.labels, task.pool[0]
        ((' 1', ' 5'), Example(query='Text:great food\nLabel:', response=' 5'))
        >>> task.notes
        ("reviews.csv: 'review' is used as the text.", "reviews.csv: 'stars' is used as the label.")
    """
    source = read_source(Path(path), encoding)
    table, notes = source.table, list(source.table.notes)
    form = _form(table, text, label, notes)
    pool = _examples(table, form, notes)
    labels = labels_of(table.path, pool, form.name, response_kind, notes)
    evaluated = _evaluation_table(source, form, evaluation_path, encoding, notes)
    evaluation = _examples(evaluated, form, notes) if evaluated is not None else ()
    if evaluated is not None:
        _check_labels(evaluated.path, evaluation, labels, table)
        pool = _without_evaluated(pool, evaluation, table, evaluated.path, notes)
    task = Task(
        name=source_name(path),
        description=form.description,
        source=f"{source.origin}, sha256:{rows_digest(pool, evaluation)}",
        labels=labels,
        pool=pool,
        evaluation=evaluation,
        max_new_tokens=1 if labels else MAX_NEW_TOKENS,
        stop=None if labels else _stop(table, pool, form, notes),
        text_column=form.columns[0],
        as_written=True,
        form=form.name,
    )
    return replace(task.as_chat() if form.name == "conversation" else task, notes=tuple(notes))


def _form(table: Table, text: str | None, label: str | None, notes: list[str]) -> Form:
    """Return the form of a table's rows: the one its columns match, or text and label, as when a column is named."""
    if text is None and label is None and (form := next((form for form in FORMS.values() if form.fits(table)), None)):
        notes.append(f"{table.path.name}: {SAID[form.name]}")
        return form
    text, label = (
        find_column(table, "text", text, notes, other=label),
        find_column(table, "label", label, notes, other=text),
    )
    if text == label:
        raise InputError(f"{table.path}: {text!r} can't be both the text and the label. Name another column.")
    return labelled(text, label)


def _stop(table: Table, pool: Sequence[Example], form: Form, notes: list[str]) -> str | None:
    """Return the stop string for free-text responses: a blank line, or None if responses contain blank lines."""
    if form.name == "conversation":
        return None
    if any(BLANK_LINE in example.response.strip() for example in pool):
        notes.append(f"{table.path.name}: responses contain blank lines, so only the model's end token ends one.")
        return None
    return BLANK_LINE


def _evaluation_table(
    source: RowSource, form: Form, path: Path | str | None, encoding: str | None, notes: list[str]
) -> Table | None:
    """Return the evaluation rows: those of the second file or of a split of the first, or None."""
    if path is not None:
        table = read_table(Path(path), encoding, evaluated=True)
        notes += table.notes
        _check_columns(table, form, source.table)
        return table
    split = _labelled_split(source, form)
    if split is not None:
        notes.append(
            f"{source.table.path.name}: the split {split_name(split)} is evaluated, as no evaluation file was named."
        )
    return split


def _labelled_split(source: RowSource, form: Form) -> Table | None:
    """Return the first evaluation split with labels, since public test sets often come without."""
    for table in source.evaluation:
        if _has_columns(table, form) and any(form.response(row, position) for position, row in table.rows):
            return table
    return None


def _has_columns(table: Table, form: Form) -> bool:
    return not _missing_columns(table, form)


def _missing_columns(table: Table, form: Form) -> list[int]:
    """Return the indices of a form's columns that a table lacks."""
    return [at for at, column in enumerate(form.columns) if column not in (*table.columns, *table.leaves)]


def _check_columns(table: Table, form: Form, first: Table) -> None:
    """Refuse a second file without the columns of the first. Raises InputError."""
    for at in _missing_columns(table, form):
        role = f" as its {('text', 'label')[at]}" if form.name == "labelled" else ""
        raise InputError(
            f"{table.path}: no column {form.columns[at]!r}, which {first.path.name} has{role}. Rename its column to "
            "that."
        )


def _check_labels(path: Path, evaluation: Sequence[Example], labels: tuple[str, ...], first: Table) -> None:
    """Refuse evaluation rows with labels that the first file lacks. Raises InputError."""
    unknown = sorted({example.response for example in evaluation}.difference(labels))
    if labels and unknown:
        raise InputError(f"{path}: the label {unknown[0].strip()!r} is not among those of {first.path.name}.")


def _without_evaluated(
    pool: tuple[Example, ...],
    evaluation: tuple[Example, ...],
    table: Table,
    evaluation_path: Path,
    notes: list[str],
) -> tuple[Example, ...]:
    """Return the pool without rows whose texts are evaluated."""
    evaluated_queries = {example.query for example in evaluation}
    remaining = tuple(example for example in pool if example.query not in evaluated_queries)
    if len(remaining) < len(pool):
        notes.append(f"{table.path.name}: {len(pool) - len(remaining)} rows are also evaluated and were left out.")
    if not remaining:
        raise InputError(f"{evaluation_path}: it holds every text of {table.path.name}, so none is left for training.")
    return remaining


def _examples(table: Table, form: Form, notes: list[str]) -> tuple[Example, ...]:
    """Return the rows with both a query and a response, without repeated queries."""
    if form.name == "labelled":
        table = without_missing_codes(table, form.columns[1], notes)
    examples = []
    for position, row in table.rows:
        query, response = form.query(row, position), form.response(row, position)
        if query and response:
            examples.append(Example(query, response))
    query_name, response_name = ("text", "label") if form.name == "labelled" else ("query", "response")
    if incomplete := len(table.rows) - len(examples):
        notes.append(f"{table.path.name}: {incomplete} rows without a {query_name} or a {response_name} were left out.")
    if not examples:
        both = (
            " and a ".join(map(repr, form.columns)) if len(form.columns) > 1 else f"{query_name} and a {response_name}"
        )
        raise InputError(f"{table.path}: no row has both a {both}.")
    distinct = without_repeats(examples)
    if repeats := len(examples) - len(distinct):
        labels_of_query = Counter(query for query, _ in {(example.query, example.response) for example in examples})
        contradictions = sum(count > 1 for count in labels_of_query.values())
        contradiction = f" ({contradictions} of these texts have different labels)" if contradictions else ""
        notes.append(f"{table.path.name}: {repeats} rows repeat a text and were left out{contradiction}.")
    return distinct
