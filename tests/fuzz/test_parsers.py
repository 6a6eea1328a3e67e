"""What no file and no response may do: end in anything but a result or one sentence, or take over five seconds.

`make fuzz` tries 100,000 inputs each; IA2_FUZZ_EXAMPLES says how many otherwise.
"""

import json
import string
import tempfile
from contextlib import suppress
from pathlib import Path

import openpyxl
import pyarrow.parquet
import pytest
from fuzz_inputs import SCALARS, TEXT, fuzzed, nested, spliced, written
from hypothesis import given
from hypothesis import strategies as st

from ia2.errors import InputError
from ia2.experiments.study_file import load_experiment
from ia2.records import Record
from ia2.tasks.answers import FINDERS
from ia2.tasks.files import load_file

pytestmark = pytest.mark.slow

VALUES = nested(SCALARS)
COLUMNS = st.sampled_from(["text", "label", "prompt", "completion", "instruction", "output", "messages", "id"])
ROWS = st.lists(st.dictionaries(COLUMNS | TEXT, VALUES, max_size=4), max_size=6)
TURNS = st.lists(
    st.dictionaries(st.sampled_from(["role", "content"]), st.sampled_from(["user", "assistant"]) | SCALARS)
)
CHATS = st.lists(st.fixed_dictionaries({"messages": TURNS | VALUES}), max_size=4)
LINES = st.lists(
    st.sampled_from(["text", "label", ",", "\t", '"', "\n", "\r\n", ";", "a", "0", "\0", "é"]), max_size=40
)


def read(name, content):
    """Read a file of these bytes as rows, which gives rows or a sentence."""
    try:
        load_file(written({name: content}) / name)
    except InputError as error:
        sentence = str(error)
    else:
        sentence = ""
    assert "\n" not in sentence


@fuzzed
@given(name=st.sampled_from(["a.csv", "a.tsv"]), content=st.binary(max_size=300) | LINES.map("".join).map(str.encode))
def test_tables_of_text(name, content):
    read(name, content)


@fuzzed
@given(name=st.sampled_from(["a.json", "a.jsonl"]), content=st.binary(max_size=200) | TEXT.map(str.encode))
def test_bytes_as_json(name, content):
    read(name, content)


@fuzzed
@given(rows=ROWS | CHATS | VALUES)
def test_rows_as_json(rows):
    read("a.json", json.dumps(rows).encode())
    if isinstance(rows, list):
        read("a.jsonl", "\n".join(map(json.dumps, rows)).encode())


@fuzzed
@given(name=st.sampled_from(["a.parquet", "a.xlsx", "a.arrow"]), content=st.binary(max_size=300))
def test_bytes_as_binary_tables(name, content):
    read(name, content)
    read(name, {"a.parquet": b"PAR1", "a.xlsx": b"PK\x03\x04", "a.arrow": b"ARROW1"}[name] + content + b"PAR1")


def tables():
    """A small table in each binary format, by the name of its file."""
    table = pyarrow.table({"text": [f"a film {number}" for number in range(6)], "label": ["good", "bad"] * 3})
    with tempfile.TemporaryDirectory() as folder:
        parquet, arrow, excel = (Path(folder) / f"a.{ending}" for ending in ("parquet", "arrow", "xlsx"))
        pyarrow.parquet.write_table(table, parquet, compression="none")
        with pyarrow.ipc.new_file(arrow, table.schema) as writer:
            writer.write_table(table)
        book = openpyxl.Workbook()
        for row in [table.column_names, *zip(*table.to_pydict().values(), strict=True)]:
            book.active.append(row)
        book.save(excel)
        return {path.name: path.read_bytes() for path in (parquet, arrow, excel)}


TABLES = tables()


@pytest.mark.parametrize("name", sorted(TABLES))
@fuzzed
@given(data=st.data())
def test_damaged_binary_tables(name, data):
    read(name, data.draw(spliced(TABLES[name])))


@fuzzed
@given(response=TEXT | st.text(string.digits + ".,/-−+^*{}\\e ½³π√$%'_:()" + "frac", max_size=80))
def test_answers(response):
    for find in FINDERS.values():
        found = find(response)
        assert found is None or found.strip()


@fuzzed
@given(content=st.binary(max_size=200) | VALUES.map(json.dumps).map(str.encode))
def test_studies(content):
    with suppress(InputError):
        load_experiment(written({"study.yaml": content}) / "study.yaml")


@fuzzed
@given(content=st.binary(max_size=200) | VALUES.map(json.dumps).map(str.encode))
def test_records(content):
    with suppress(InputError):
        Record.read(written({"a.json": content}) / "a.json")
