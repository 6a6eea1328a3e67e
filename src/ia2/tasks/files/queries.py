"""Unlabelled texts of a file as queries like those of a file's task."""

from pathlib import Path

from ia2.errors import InputError
from ia2.tasks.files.columns import find_column
from ia2.tasks.files.labelled import query_of
from ia2.tasks.files.registry import read_table
from ia2.tasks.files.table import cell_text
from ia2.tasks.task import Task


def load_queries(path: Path, known: Task, text: str | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    r"""Load unlabelled texts as queries.

    Args:
        path: a text file with a text on each line, or a table as in `load_file`, whose labels, if any, are not read.
        known: the task; texts among its labelled rows, in the pool or the evaluation set, are left out.
        text: the column of texts.

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
    texts = _lines(path) if path.suffix.lower() == ".txt" else _column_texts(path, text, notes)
    queries = dict.fromkeys(query_of(text) for text in texts if text)
    labelled = {example.query for example in known.pool + known.evaluation}
    unlabelled = tuple(query for query in queries if query not in labelled)
    if len(unlabelled) < len(queries):
        notes.append(f"{path.name}: {len(queries) - len(unlabelled)} texts are also labelled rows and were left out.")
    if not unlabelled:
        raise InputError(f"{path}: no text is left that {known.name} hasn't got with a label.")
    return unlabelled, tuple(notes)


def _lines(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    try:
        # only \n ends a line, with or without \r: a text may hold other line separators
        with path.open(encoding="utf-8-sig", newline="\n") as lines:
            return [line.strip() for line in lines]
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: this is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error


def _column_texts(path: Path, text: str | None, notes: list[str]) -> list[str]:
    table = read_table(path)
    only_column = table.columns[0] if len(table.columns) == 1 else None
    column = find_column(table, "text", text or only_column, notes)
    return [cell_text(row.get(column), position, column) for position, row in table.rows]
