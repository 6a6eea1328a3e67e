"""The data formats that can be read. A new one is a module with a reader, and a line here."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from ia2.errors import InputError
from ia2.tasks.files.delimited import read_delimited
from ia2.tasks.files.jsonl import read_json_lines
from ia2.tasks.files.parquet import read_parquet
from ia2.tasks.files.table import Table

READERS: Mapping[str, Callable[[Path], Table]] = MappingProxyType(
    {
        ".csv": read_delimited,
        ".tsv": read_delimited,
        ".jsonl": read_json_lines,
        ".ndjson": read_json_lines,
        ".parquet": read_parquet,
    }
)
"""The reader of each file ending."""


def read_table(path: Path) -> Table:
    r"""Read a file with the reader that its ending names.

    Raises:
        InputError: there is no such file, its ending is not known, it has no rows, or its reader can't read it.

    Example:
        >>> from pathlib import Path
        >>> _ = Path("rows.tsv").write_text("text\tlabel\na fine film\t1\n")
        >>> read_table(Path("rows.tsv")).rows
        (('rows.tsv, line 2', {'text': 'a fine film', 'label': '1'}),)
    """
    if path.is_dir():
        raise InputError(f"{path}: this is a folder. Name a file.")
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: the ending {path.suffix!r} is not known. Use one of {', '.join(READERS)}.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: this file is empty.")
    try:
        table = reader(path)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: this is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
    if not table.rows:
        raise InputError(f"{path}: this file has no rows.")
    return table
