"""`ia2 predict`: predictions for unlabelled rows or texts, in the prompt format that the adapter was trained with."""

import hashlib
import itertools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from ia2.adapters.adapter import WEIGHTS_FILE, Adapter
from ia2.adapters.configuration import FILE as CONFIGURATION_FILE
from ia2.adapters.provenance import FILE, Provenance, weights_id
from ia2.cache import check_writable
from ia2.cli.console import ConsoleProgress, stdout
from ia2.cli.loading_options import loading_of
from ia2.cli.options import Predict
from ia2.errors import FieldError, InputError
from ia2.experiments.rows import file_digests
from ia2.inference.journal import Journal, journal_of, path_of_journal
from ia2.inference.predict import Answer, predict
from ia2.models.load import load_model
from ia2.models.names import check_model_name
from ia2.reports.renderings import in_terminal
from ia2.reports.table import Column, Table
from ia2.tasks.files.forms import query_of_text
from ia2.tasks.files.queries import queries_of_rows
from ia2.tasks.files.registry import read_table
from ia2.tasks.files.table import Row
from ia2.tasks.files.writing import TEXTS, as_text, check_ending, check_rows, without_formulas, write_rows

AT_ONCE = 32
"""Number of texts predicted together; their answers are printed or saved as soon as all are done."""

Ask = Callable[[Iterable[str]], Iterator[Answer]]


def run_predict(options: Predict) -> None:
    """Predict texts and print the answers, or predict a file's rows and write them."""
    progress = ConsoleProgress()
    taught, adapter = _taught(options.adapter), Adapter.load(options.adapter)
    name = options.model or taught.model
    if name is None:
        raise FieldError("model", None, f"{options.adapter} doesn't say which model it was trained on. Name it.")
    check_model_name(name)
    rows = _FileRows(options, taught, progress) if options.data is not None else None
    # the journal keeps other processes from writing to the same file
    with journal_of(options.out) if options.out is not None else nullcontext() as journal:
        if options.out is not None:
            _check_absent(options.out)
        model = load_model(name, **loading_of(options), progress=progress)
        if taught.weights != weights_id(model):
            progress.say(
                "The adapter was trained on different weights from this model's, so its answers may be meaningless."
            )
        ask: Ask = partial(
            predict,
            model,
            taught.task(),
            adapter=adapter,
            label_scoring=taught.label_scoring or "auto",
            at_once=AT_ONCE,
        )
        if rows is None:
            texts = _lines(sys.stdin) if options.texts == ("-",) else options.texts
            _print_answers(ask, texts, taught, probabilities=options.probabilities)
        else:
            rows.answer(ask, model.fingerprint, progress, journal)


def _check_absent(out: Path) -> None:
    """Refuse to overwrite a file. Raises InputError."""
    if not out.exists():
        return
    left = path_of_journal(out)
    # a run that is killed when the output is written leaves its journal
    has_answers = left.exists() and left.stat().st_size > 0
    also = f" {left.name} beside it holds the answers of a run that was killed; delete it too." if has_answers else ""
    raise InputError(f"{out}: this already exists and is not overwritten. Name another with --out.{also}")


def _taught(folder: Path) -> Provenance:
    taught = Provenance.beside(folder)
    if taught is None and (folder / WEIGHTS_FILE).is_file():
        raise InputError(
            f"{folder}: {FILE}, which says how the adapter was trained, is missing. Name an adapter made by ia2 adapt; "
            "ia2 evaluate --adapter measures others."
        )
    if taught is None and (folder / "adapter" / WEIGHTS_FILE).is_file():
        raise InputError(f"{folder}: no adapter here. Did you mean {folder / 'adapter'}?")
    if taught is None:
        raise InputError(f"{folder}: no adapter here. Name the folder that holds {WEIGHTS_FILE}.")
    return taught


def _lines(stream: Iterable[str]) -> Iterator[str]:
    """Yield the texts of a stream, one per non-blank line."""
    return (line.strip() for line in stream if line.strip())


def _query(text: str, taught: Provenance) -> str:
    """Return a text in the prompt format used in training; for a benchmark, a text is a whole query."""
    return query_of_text(taught.form, text) if taught.as_written else text


def _columns(answer: Answer, *, probabilities: bool) -> dict[str, Any]:
    """Return the columns that an answer adds to a row."""
    columns: dict[str, Any] = {"prediction": answer.prediction}
    if answer.confidence is not None:
        columns["confidence"] = round(answer.confidence, 6)
    if probabilities and answer.probabilities is not None:
        columns |= {_probability_of(label): round(share, 6) for label, share in answer.probabilities.items()}
    return columns


def _probability_of(label: str) -> str:
    """Return the name of a label's probability column."""
    return f"probability of {label}"


def _print_answers(ask: Ask, texts: Iterable[str], taught: Provenance, *, probabilities: bool) -> None:
    """Print a table in a terminal, and otherwise JSON lines as answers arrive."""
    texts, asked = itertools.tee(texts)
    answers = ask(_query(text, taught) for text in asked)
    rows = (
        {"text": text, **_columns(answer, probabilities=probabilities)}
        for text, answer in zip(texts, answers, strict=True)
    )
    console = stdout()
    if not console.is_terminal:
        for row in rows:
            print(json.dumps(row, ensure_ascii=False), flush=True)
        return
    shown = list(rows)
    if not shown:
        return
    # the text comes last, as its length varies
    names = [*(name for name in shown[0] if name != "text"), "text"]
    columns = [Column(name, None if name in ("text", "prediction") else ".3f") for name in names]
    table = Table.of("", "", columns, [[row[name] for name in names] for row in shown])
    console.print(in_terminal(table, console.width))


class _FileRows:
    """The rows of a user's file, read and checked before the model is loaded."""

    def __init__(self, options: Predict, taught: Provenance, progress: ConsoleProgress) -> None:
        assert options.data is not None, "run_predict reads a file where one is given"
        self.options, self.path, self.out = options, options.data, options.out
        self.generates = not taught.labels
        """Whether predictions are generated text instead of labels."""
        if self.out is not None:
            _check_absent(self.out)
            check_ending(self.out)
            check_writable(self.out)
        table = read_table(self.path, options.encoding)
        if self.out is not None:
            check_rows(self.out, table.columns, [row for _, row in table.rows])
        notes = list(table.notes)
        known = taught.text_column if taught.text_column in table.columns else None
        self.queries = queries_of_rows(table, taught.form, options.text or known, notes)
        """A query per row; empty for rows without text."""
        for note in notes:
            progress.say(note)
        added = ["prediction", "confidence"]
        added += [_probability_of(label.strip()) for label in taught.labels if options.probabilities]
        if taken := [name for name in added if name in table.columns]:
            raise InputError(f"{self.path}: it already has a column {taken[0]!r}. Rename that column.")
        self.table = table
        if blank := self.queries.count(""):
            rows = "1 row has no text and gets" if blank == 1 else f"{blank} rows have no text and get"
            progress.say(f"{self.path.name}: {rows} no prediction.")

    def answer(self, ask: Ask, model: dict[str, Any], progress: ConsoleProgress, journal: Journal | None) -> None:
        """Predict all rows that have a text, and print or write them; writing to a file uses a journal."""
        asked = [query for query in self.queries if query]
        if journal is not None:
            journal.go_on(self._digest(model))
        answers = list(journal.answers) if journal is not None else []
        if answers:
            progress.say(f"{len(answers)} of {len(asked)} rows were already answered by an earlier run.")
        with progress.phase("predict", len(asked)) as advance:
            advance(len(answers))
            remaining = ask(asked[len(answers) :])
            while chunk := list(itertools.islice(remaining, AT_ONCE)):
                if journal is not None:
                    journal.add(chunk)
                answers += chunk
                advance(len(chunk))
        columns, rows = self._answered(answers)
        ending = (self.out or self.path).suffix.lower()
        if self.out is None and ending not in TEXTS:
            ending = ".jsonl"
        if self.generates:
            rows = without_formulas(ending, rows, "prediction")
        if self.out is None or journal is None:
            sys.stdout.write(as_text(ending, columns, rows))
            return
        write_rows(self.out, columns, rows)
        journal.delete()
        print(f"{self.out}: {len(rows)} rows with their predictions")

    def _answered(self, answers: Sequence[Answer]) -> tuple[list[str], Sequence[Row]]:
        """Return the file's columns and rows, with the columns added by answers."""
        remaining = iter(answers)
        added = [
            _columns(next(remaining), probabilities=self.options.probabilities) if query else {}
            for query in self.queries
        ]
        names = dict.fromkeys(name for columns in added for name in columns)
        rows = [
            {**row, **dict.fromkeys(names), **columns} for (_, row), columns in zip(self.table.rows, added, strict=True)
        ]
        return [*self.table.columns, *names], rows

    def _digest(self, model: dict[str, Any]) -> str:
        """Return a digest of everything that the answers depend on: texts, adapter and model."""
        files = file_digests([self.options.adapter / name for name in (CONFIGURATION_FILE, WEIGHTS_FILE, FILE)])
        content = json.dumps([[repr(query) for query in self.queries], sorted(files.values()), model])
        return hashlib.sha256(content.encode()).hexdigest()
