"""Loading unlabelled texts as queries in the form of an existing task."""

from pathlib import Path

from ia2.errors import InputError, nothing_at
from ia2.tasks.files.columns import find_column
from ia2.tasks.files.encodings import read_text
from ia2.tasks.files.forms import FORMS, query_of_text
from ia2.tasks.files.registry import read_table
from ia2.tasks.files.table import Table, cell_of, cell_text
from ia2.tasks.task import RowForm, Task

ADVICE = "Leave only the column of texts in it"


def load_queries(
    path: Path, known: Task, text: str | None = None, encoding: str | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    r"""Load unlabelled texts as queries.

    Args:
        path: a text file with one text per line, or data as in `load_file`, whose labels or responses are ignored.
        known: the task. Texts that are among its labelled rows, in the pool or the evaluation set, are left out.
        text: the text column, if there are several columns.
        encoding: the encoding of a text file; by default it is detected.

    Returns:
        The distinct queries in the file's order, and notes on what was guessed and left out.

    Raises:
        InputError: the file can't be read, its column can't be found, or no text is left.

    Example:
        >>> _ = Path("more.txt").write_text("a fine film\na long film\na fine film\n")
        >>> load_queries(Path("more.txt"), task)
        (('Text:a fine film\nLabel:', 'Text:a long film\nLabel:'), ())
    """
    notes: list[str] = []
    is_text = path.suffix.lower() == ".txt"
    read = _lines(path, known.form, encoding, notes) if is_text else _rows(path, known.form, text, encoding, notes)
    queries = dict.fromkeys(query for query in read if query)
    labelled = {example.query for example in known.pool + known.evaluation}
    unlabelled = tuple(query for query in queries if query not in labelled)
    if len(unlabelled) < len(queries):
        notes.append(f"{path.name}: {len(queries) - len(unlabelled)} texts are also labelled rows and were left out.")
    if not unlabelled:
        raise InputError(f"{path}: all of its texts are labelled rows of {known.name}. Name other texts.")
    return unlabelled, tuple(notes)


def _lines(path: Path, form: RowForm, encoding: str | None, notes: list[str]) -> list[str]:
    if not path.is_file():
        raise nothing_at(path)
    content, reading_notes = read_text(path, encoding)
    notes += reading_notes
    # only \n ends a line, with or without \r: a text may contain other line separators
    texts = [line.strip() for line in content.split("\n")]
    return [query_of_text(form, text) for text in texts if text]


def _rows(path: Path, form: RowForm, text: str | None, encoding: str | None, notes: list[str]) -> list[str]:
    table = read_table(path, encoding)
    notes += table.notes
    return queries_of_rows(table, form, text, notes)


def queries_of_rows(table: Table, form: RowForm, text: str | None, notes: list[str]) -> list[str]:
    r"""Return the query of each row of a table without labels; empty for a row without a text.

    Args:
        table: the rows.
        form: how a row becomes a query.
        text: the text column; by default the form's, the only column, or a guess.
        notes: a sentence is appended here for a guess.

    Raises:
        InputError: the column doesn't exist or can't be guessed.

    Example:
        >>> rows = (("rows.csv, line 2", {"review": "a fine film"}),)
        >>> queries_of_rows(Table(Path("rows.csv"), ("review",), rows), "labelled", None, [])
        ['Text:a fine film\nLabel:']
    """
    if form != "labelled" and text is None and FORMS[form].columns[0] in table.columns:
        return [FORMS[form].query(row, position) for position, row in table.rows]
    only_column = table.leaves[0] if len(table.leaves) == 1 else None
    column = find_column(table, "text", only_column or text, notes, advice=ADVICE)
    texts = [cell_text(cell_of(row, column), position, column) for position, row in table.rows]
    return [text and query_of_text(form, text) for text in texts]
