"""Parquet, read with pyarrow."""

from pathlib import Path

from ia2.errors import InputError
from ia2.tasks.files.table import Table, distinct_columns


def read_parquet(path: Path) -> Table:
    """Read a Parquet file; rows are counted from 1.

    Raises:
        InputError: this is no Parquet file, it is damaged, or two columns share a name.
        UnicodeDecodeError: a text is not UTF-8.

    Example:
        >>> import pyarrow, pyarrow.parquet
        >>> pyarrow.parquet.write_table(pyarrow.table({"text": ["a"], "label": [1]}), "rows.parquet")
        >>> read_parquet(Path("rows.parquet")).rows
        (('rows.parquet, row 1', {'text': 'a', 'label': 1}),)
    """
    # takes a while to import, and only Parquet needs it
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        # not read_table, which takes folders such as label=x/ above the file for columns
        with ParquetFile(path) as file:
            columns = distinct_columns(path, file.schema_arrow.names)
            values = [row for batch in file.iter_batches() for row in batch.to_pylist()]
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: this is no Parquet file ({reason}).") from error
    rows = ((f"{path}, row {number}", row) for number, row in enumerate(values, start=1))
    return Table(path, columns, tuple(rows))
