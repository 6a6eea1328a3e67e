"""JSON lines: an object on each line, whose keys are the columns."""

from pathlib import Path

from ia2.tasks.files.table import Table
from ia2.tasks.json_lines import json_lines


def read_json_lines(path: Path) -> Table:
    r"""Read a file of JSON lines. A key that only some rows have is a column as well.

    Raises:
        InputError: a line is not UTF-8 text or not a JSON object.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("rows.jsonl").write_text('{"text": "a"}\n{"text": "b", "label": 1}\n')
        >>> table = read_json_lines(Path("rows.jsonl"))
        >>> table.columns, table.rows[1]
        (('text', 'label'), ('rows.jsonl, line 2', {'text': 'b', 'label': 1}))
    """
    rows = tuple(json_lines(path))
    columns = dict.fromkeys(column for _, row in rows for column in row)
    return Table(path, tuple(columns), rows)
