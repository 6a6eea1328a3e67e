"""Files of rows in every data format, and what is asked of a file that can't be used."""

import csv
import json

import datasets
import openpyxl
import pyarrow
import pytest
from pyarrow import parquet

from ia2.errors import InputError
from ia2.tasks.files import load_file


def write(path, rows, columns=("text", "label")):
    """Write rows in the format that the path's ending names, and return the path."""
    records = [dict(zip(columns, row, strict=True)) for row in rows]
    if path.suffix in (".csv", ".tsv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writerows([columns, *rows])
    elif path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(records), path)
    elif path.suffix == ".xlsx":
        workbook = openpyxl.Workbook()
        for row in (columns, *rows):
            workbook.active.append(list(row))
        workbook.save(path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(records, ensure_ascii=False), encoding="utf-8")
    elif not path.suffix:
        datasets.Dataset.from_list(records).save_to_disk(path)
    else:
        path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    return path


def check_refusal(folder, name, content, said):
    """A file of this content is refused in one sentence that begins with its path."""
    path = folder / name
    path.write_bytes(content)
    with pytest.raises(InputError, match=said) as raised:
        load_file(path)
    assert str(raised.value).startswith(str(path))
    assert "\n" not in str(raised.value)
