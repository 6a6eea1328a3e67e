"""The supported data formats. To add one, write a module with a reader and add a line here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from ia2.errors import FieldError, InputError, nothing_at
from ia2.tasks.files.delimited import read_delimited
from ia2.tasks.files.encodings import read_text
from ia2.tasks.files.excel import read_excel
from ia2.tasks.files.hub import is_hub_name, read_hub
from ia2.tasks.files.json_array import read_json
from ia2.tasks.files.jsonl import read_json_lines
from ia2.tasks.files.parquet import read_parquet
from ia2.tasks.files.saved import RowSource, read_saved
from ia2.tasks.files.table import Table

TextReader = Callable[[Path, str], Table]
BinaryReader = Callable[[Path], Table]


@dataclass(frozen=True)
class FileFormat:
    """The reader for a file extension."""

    read: Callable[[Path, str | None], Table]
    """Reads a file, with the given encoding if it is text."""
    is_text: bool
    """Whether the file is text, which may have any encoding."""


def of_text(reader: TextReader) -> FileFormat:
    """Return the format of text files, which may have any encoding."""

    def read(path: Path, encoding: str | None) -> Table:
        text, notes = read_text(path, encoding)
        table = reader(path, text)
        return replace(table, notes=(*notes, *table.notes))

    return FileFormat(read, is_text=True)


def of_bytes(reader: BinaryReader) -> FileFormat:
    """Return the format of binary files, which define their own encoding."""

    def read(path: Path, encoding: str | None) -> Table:
        try:
            return reader(path)
        except UnicodeDecodeError as error:
            raise InputError(f"{path}: a text in it is not UTF-8 (byte {error.start}). Save it as UTF-8.") from error

    return FileFormat(read, is_text=False)


READERS: Mapping[str, FileFormat] = MappingProxyType(
    {
        ".csv": of_text(read_delimited),
        ".tsv": of_text(read_delimited),
        ".json": of_text(read_json),
        ".jsonl": of_text(read_json_lines),
        ".ndjson": of_text(read_json_lines),
        ".parquet": of_bytes(read_parquet),
        ".xlsx": of_bytes(read_excel),
    }
)
"""Format of each file extension."""

SOURCES: tuple[tuple[Callable[[Path], bool], Callable[[Path], RowSource]], ...] = (
    (is_hub_name, read_hub),
    (Path.is_dir, read_saved),
)
"""Sources other than files: a test of the name, and the reader."""


def read_source(path: Path, encoding: str | None = None) -> RowSource:
    r"""Read a data source by its name: a file by extension, a dataset's folder, or a dataset on the hub.

    Args:
        path: the name.
        encoding: encoding of a text file; by default it is detected.

    Raises:
        InputError: the file doesn't exist, is empty or can't be read, or its extension is unknown.
        FieldError: the encoding is unknown, or the file isn't text.

    Example:
        >>> _ = Path("rows.tsv").write_text("text\tlabel\na fine film\t1\n")
        >>> read_source(Path("rows.tsv")).table.rows
        (('rows.tsv, line 2', {'text': 'a fine film', 'label': '1'}),)
    """
    read = next((read for belongs, read in SOURCES if belongs(path)), None)
    source = read(path) if read is not None else RowSource(_read_file(path, encoding), f"file {path.name}")
    if encoding is not None and not _is_text(path):
        raise FieldError("encoding", encoding, f"this is for text files, which {path} is not. Leave it out.")
    if not source.table.rows:
        raise InputError(f"{source.table.path}: this {'file' if path.is_file() else 'dataset'} has no rows.")
    return source


def read_table(path: Path, encoding: str | None = None, *, evaluated: bool = False) -> Table:
    """Return one table of a data source that accompanies another: all its rows, or its train split.

    Args:
        path: the name.
        encoding: encoding of both sources, if they are text files.
        evaluated: whether to take the evaluation split, if there is one.

    Raises:
        InputError: as for `read_source`.
    """
    source = read_source(path, encoding if _is_text(path) else None)
    if evaluated and (tables := [table for table in source.evaluation if table.rows]):
        return replace(tables[0], notes=(f"{path.name}: the split {split_name(tables[0])} is evaluated.",))
    return source.table


def split_name(table: Table) -> str:
    """Return the name of the table's split."""
    return table.path.name.rpartition(":")[2]


def source_name(path: Path | str) -> str:
    """Return a task's name from its data source: a file's without extension, a folder's, or a dataset's.

    Example:
        >>> [source_name(path) for path in ("data/rows.csv", "hf:owner/name", "hf:owner/name:config:test")]
        ['rows', 'name', 'name-config-test']
    """
    path = Path(path)
    if is_hub_name(path):
        return "-".join(part for part in path.name.removeprefix("hf:").split(":") if part)
    return path.name if path.is_dir() else path.stem


def _read_file(path: Path, encoding: str | None) -> Table:
    if not path.is_file():
        raise nothing_at(path, hub="dataset")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        hint = (
            "Save it as .xlsx."
            if path.suffix.lower() in (".xls", ".ods", ".xlsb")
            else f"Use one of {', '.join(READERS)}."
        )
        raise InputError(f"{path}: unknown file type {path.suffix!r}. {hint}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: this file is empty.")
    return reader.read(path, encoding)


def _is_text(path: Path) -> bool:
    file_format = READERS.get(path.suffix.lower())
    return not any(belongs(path) for belongs, _ in SOURCES) and file_format is not None and file_format.is_text
