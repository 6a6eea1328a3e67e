"""A user's own file as a task: CSV, TSV, JSON lines or Parquet, its columns named or guessed where that is safe."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ia2.errors import InputError
from ia2.tasks.json_lines import json_lines
from ia2.tasks.task import Example, Task, rows_digest, without_repeats

ResponseKind = Literal["label", "text"]

TEXT_NAMES = ("text", "sentence", "review", "content", "question", "query", "input", "prompt", "message", "comment")
LABEL_NAMES = ("label", "category", "class", "sentiment", "target", "answer", "response", "output", "intent", "topic")
MANY_LABELS = 10
LONG_LABEL = 30
"""Characters."""
LONGEST_CELL = 2**31 - 1
"""Characters, the most that every system's reader of CSV can be told; its own limit is 131,072."""


@dataclass(frozen=True)
class _Table:
    """A file's rows: what each is called in an error, and its values by column."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, Mapping[str, Any]], ...]


def load_file(
    path: Path | str,
    *,
    text: str | None = None,
    label: str | None = None,
    evaluation_path: Path | str | None = None,
    response_kind: ResponseKind | None = None,
) -> Task:
    """Labelled rows of a file as a task.

    Columns that aren't named are guessed where only one can be meant: the one whose name is a usual one for texts or
    for labels, or the other one of two. Responses are taken for free text where labels are many (more than ten, and
    more than half as many as rows) and long (30 characters on average); else they are labels. What was guessed, and
    rows that were left out, are told in the task's notes.

    Args:
        path: the file; its ending says which kind it is.
        text: the column of texts.
        label: the column of labels, or of responses.
        evaluation_path: a second file of the same columns to be measured; any of its texts is left out of the first.
        response_kind: whether responses are labels or free text.

    Raises:
        InputError: a file isn't there or can't be read, columns can't be found, no row is left, or there is one label.
    """
    table = _read(Path(path))
    notes: list[str] = []
    text_column = _column(table, text, "text", TEXT_NAMES, LABEL_NAMES, notes, taken=label)
    label_column = _column(table, label, "label", LABEL_NAMES, TEXT_NAMES, notes, taken=text)
    if text_column == label_column:
        raise InputError(f"{table.path}: {text_column!r} can't be both the text and the label. Name another column.")
    examples = _examples(table, text_column, label_column, notes)
    labels = _labels(table, examples, response_kind, notes)
    measured: tuple[Example, ...] = ()
    if evaluation_path is not None:
        other = _read(Path(evaluation_path))
        for option, column in (("text", text_column), ("label", label_column)):
            if column not in other.columns:
                raise InputError(f"{other.path}: no column {column!r}, which {table.path.name} has as its {option}.")
        measured = _examples(other, text_column, label_column, notes)
        evaluated = {example.query for example in measured}
        kept = tuple(example for example in examples if example.query not in evaluated)
        if len(kept) < len(examples):
            notes.append(f"{table.path.name}: {len(examples) - len(kept)} rows are also evaluated and were left out.")
        if not kept:
            raise InputError(
                f"{evaluation_path}: it holds every text of {table.path.name}, so that none is left to learn."
            )
        examples = kept
    if labels:
        strange = sorted({example.response for example in measured}.difference(labels))
        if strange:
            raise InputError(
                f"{evaluation_path}: the label {strange[0].strip()!r} is not among those of {table.path.name}."
            )
    return Task(
        name=table.path.stem,
        description=f"{label_column} of {text_column}",
        source=f"file {table.path.name}, sha256:{rows_digest(examples, measured)}",
        labels=labels,
        pool=examples,
        evaluation=measured,
        max_new_tokens=1 if labels else 200,
        stop=None if labels else "\n\n",
        as_written=True,
        notes=tuple(notes),
    )


def load_queries(path: Path, known: Task, text: str | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Texts without labels, as queries like those of a file's task, and what is to be said of them.

    Args:
        path: a text file with a text on each line, or a table as in `load_file`, whose labels, if any, are not read.
        known: the task; texts that it measures or that may teach with their labels are left out.
        text: the column of texts.

    Raises:
        InputError: the file can't be read, its column can't be found, or no text is left.
    """
    notes: list[str] = []
    if path.suffix.lower() == ".txt":
        if not path.is_file():
            raise InputError(f"{path}: no such file.")
        try:
            # only \n ends a line, with or without \r: a text may hold other line separators as they are
            with path.open(encoding="utf-8-sig", newline="\n") as lines:
                texts = [line.strip() for line in lines]
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: this is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    else:
        table = _read(path)
        only = table.columns[0] if len(table.columns) == 1 else None
        column = _column(table, text or only, "text", TEXT_NAMES, LABEL_NAMES, notes)
        texts = [_value(row.get(column), place, column) for place, row in table.rows]
    queries = dict.fromkeys(_query(text) for text in texts if text)
    taken = {example.query for example in known.pool + known.evaluation}
    kept = tuple(query for query in queries if query not in taken)
    if len(kept) < len(queries):
        notes.append(f"{path.name}: {len(queries) - len(kept)} texts are also labelled rows and were left out.")
    if not kept:
        raise InputError(f"{path}: no text is left that {known.name} hasn't got with a label.")
    return kept, tuple(notes)


def _query(text: str) -> str:
    return f"Text:{text}\nLabel:"


def _labels(table: _Table, examples: Sequence[Example], kind: ResponseKind | None, notes: list[str]) -> tuple[str, ...]:
    """The labels in order; none where responses are free text."""
    responses = [example.response for example in examples]
    different = sorted(set(responses))
    if kind is None:
        many = len(different) > MANY_LABELS and 2 * len(different) > len(responses)
        kind = "text" if many and sum(map(len, responses)) > LONG_LABEL * len(responses) else "label"
        if kind == "text":
            notes.append(f"{table.path.name}: {len(different)} different, long labels are taken for free text.")
    if kind == "text":
        return ()
    if len(different) == 1:
        raise InputError(f"{table.path}: every row has the label {different[0].strip()!r}; at least two are needed.")
    return tuple(different)


def _column(
    table: _Table,
    named: str | None,
    what: str,
    names: Sequence[str],
    others: Sequence[str],
    notes: list[str],
    taken: str | None = None,
) -> str:
    listed = ", ".join(table.columns)
    if named is not None:
        if named not in table.columns:
            raise InputError(f"{table.path}: no column is called {named!r}. Columns: {listed}.")
        return named
    fitting = [column for column in table.columns if column.strip().lower() in names]
    if not fitting and len(table.columns) == 2:
        # the other one of two is what it must be
        rest = [column for column in table.columns if column != taken and column.strip().lower() not in others]
        fitting = rest if len(rest) == 1 else []
    if len(fitting) != 1:
        found = "no column looks" if not fitting else f"more than one column looks ({', '.join(fitting)})"
        raise InputError(f"{table.path}: {found} like the {what}. Columns: {listed}. Name it with --{what} COLUMN.")
    notes.append(f"{table.path.name}: {fitting[0]!r} is taken for the {what}.")
    return fitting[0]


def _examples(table: _Table, text: str, label: str, notes: list[str]) -> tuple[Example, ...]:
    """The rows that have both values, each text once."""
    examples = []
    for place, row in table.rows:
        query, response = (_value(row.get(column), place, column) for column in (text, label))
        if query and response:
            examples.append(Example(_query(query), f" {response}"))
    if empty := len(table.rows) - len(examples):
        notes.append(f"{table.path.name}: {empty} rows without a text or a label were left out.")
    if not examples:
        raise InputError(f"{table.path}: no row has both a {text!r} and a {label!r}.")
    kept = without_repeats(examples)
    if len(kept) < len(examples):
        labels = Counter(query for query, _ in {(example.query, example.response) for example in examples})
        torn = sum(count > 1 for count in labels.values())
        contradiction = f" ({torn} of these texts have different labels)" if torn else ""
        repeats = len(examples) - len(kept)
        notes.append(f"{table.path.name}: {repeats} rows repeat a text and were left out{contradiction}.")
    return kept


def _value(value: Any, place: str, column: str) -> str:
    """A cell as text: whole numbers without a decimal point, truth values in lower case, nothing as nothing."""
    if value is None or (isinstance(value, float) and value != value):
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (str, int, float)):
        return str(value).strip()
    raise InputError(f"{place}: {column!r} holds a {type(value).__name__}; texts and labels must be plain values.")


def _read(path: Path) -> _Table:
    readers = {
        ".csv": _read_csv,
        ".tsv": _read_csv,
        ".jsonl": _read_lines,
        ".ndjson": _read_lines,
        ".parquet": _read_parquet,
    }
    if path.is_dir():
        raise InputError(f"{path}: this is a folder. Name a file.")
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    if path.suffix.lower() not in readers:
        raise InputError(f"{path}: the ending {path.suffix!r} is not known. Use one of {', '.join(readers)}.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: this file is empty.")
    try:
        table = readers[path.suffix.lower()](path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: this is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    if not table.rows:
        raise InputError(f"{path}: this file has no rows.")
    return table


def _read_csv(path: Path) -> _Table:
    # utf-8-sig leaves out the mark that spreadsheets put at the start
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next((line for line in iter(file.readline, "") if line.strip()), "")
        file.seek(0)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=header.count)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        limit = csv.field_size_limit(LONGEST_CELL)
        try:
            columns = tuple(next((values for values in reader if values), ()))
            if twice := [column for column, count in Counter(columns).items() if count > 1]:
                raise InputError(f"{path}: two columns are called {twice[0]!r}. Give each a name of its own.")
            rows = []
            for values in reader:
                place = f"{path}, line {reader.line_num}"
                if not values:
                    continue
                if len(values) != len(columns):
                    raise InputError(f"{place}: {len(values)} values where the header has {len(columns)} columns.")
                rows.append((place, dict(zip(columns, values, strict=True))))
        except csv.Error as error:
            raise InputError(f"{path}, line {reader.line_num}: this is no proper CSV ({error}).") from error
        finally:
            csv.field_size_limit(limit)
    return _Table(path, columns, tuple(rows))


def _read_lines(path: Path) -> _Table:
    rows = tuple(json_lines(path))
    columns = dict.fromkeys(column for _, row in rows for column in row)
    return _Table(path, tuple(columns), rows)


def _read_parquet(path: Path) -> _Table:
    import polars

    try:
        frame = polars.read_parquet(path)
    except polars.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: this is no Parquet file ({reason}).") from error
    rows = ((f"{path}, row {number}", row) for number, row in enumerate(frame.iter_rows(named=True), start=1))
    return _Table(path, tuple(frame.columns), tuple(rows))
