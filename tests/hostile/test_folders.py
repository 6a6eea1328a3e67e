"""Files of rows, studies and records that a stranger has made."""

import gzip
import json
import time
import tracemalloc
import zipfile
from contextlib import contextmanager

import datasets
import numpy
import openpyxl
import pyarrow
import pytest
from command_line import run, write_csv
from pyarrow import parquet
from small_study import opened, study
from study_records import record, write_study

from ia2.errors import InputError
from ia2.records import MOST_BYTES, Record, load_records
from ia2.reports.contents import kept_in
from ia2.tasks.files import load_file
from ia2.tasks.files.parquet import read_parquet


@contextmanager
def traced():
    """The most bytes that Python took in the block, once it is over."""
    most = []
    tracemalloc.start()
    try:
        yield most
    finally:
        most.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()


def test_a_workbook_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path):
    path = tmp_path / "bomb.xlsx"
    workbook = openpyxl.Workbook()
    workbook.active.append(["text", "label"])
    workbook.save(tmp_path / "plain.xlsx")
    with zipfile.ZipFile(tmp_path / "plain.xlsx") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for part in plain.infolist():
            sheet = part.filename.endswith("sheet1.xml")
            filling = b"<row><c><v>" + b"0" * 200_000_000 + b"</v></c></row></sheetData>" if sheet else b""
            bomb.writestr(part, plain.read(part).replace(b"</sheetData>", filling or b"</sheetData>"))
    assert path.stat().st_size < 1_000_000
    with traced() as most, pytest.raises(InputError, match=r"it unpacks to 200\.0 MB, from"):
        load_file(path)
    assert most[0] < 10_000_000


def repeated(rows, text="x", kind=None):
    """A table of one text many times, of which Arrow holds the text once."""
    indices = pyarrow.array(numpy.zeros(rows, numpy.int32))
    return pyarrow.table({"text": pyarrow.DictionaryArray.from_arrays(indices, pyarrow.array([text], kind))})


def listed(count, text):
    """A row whose list holds one text many times."""
    values = pyarrow.DictionaryArray.from_arrays(pyarrow.array(numpy.zeros(count, numpy.int32)), pyarrow.array([text]))
    return pyarrow.table({"text": pyarrow.ListArray.from_arrays(pyarrow.array([0, count], pyarrow.int32()), values)})


@pytest.mark.parametrize(
    ("table", "times", "reason"),
    [
        (lambda: repeated(10**6), 50, "it says that it has 50000000 rows; 1048576 are the most in"),
        (lambda: repeated(10**5, "x" * 10**6), 1, "it unpacks to 65.5 GB, from"),
        (lambda: repeated(100, b"x" * 10**6, pyarrow.binary(10**6)), 1, "it unpacks to 100.0 MB, from"),
        (lambda: listed(10**5, "x" * 10**6), 1, "it unpacks to 100.0 GB, from"),
        (lambda: listed(10**7, "x"), 3, "it says that it has 30000000 values; 8388608 are the most in"),
        (lambda: pyarrow.table({"text": pyarrow.nulls(10**6)}), 50, "it says that it has 50000000 rows"),
        (lambda: pyarrow.table({"text": ["x" * 10**8]}), 1, "it unpacks to 100.0 MB, from"),
    ],
    ids=["rows", "texts", "fixed texts", "texts in a list", "values", "nulls", "one text"],
)
def test_a_parquet_file_that_stands_for_far_more_than_its_size_is_refused(tmp_path, table, times, reason):
    path, made = tmp_path / "bomb.parquet", table()
    with parquet.ParquetWriter(path, made.schema, compression="zstd", store_schema=False) as writer:
        for _ in range(times):
            writer.write_table(made)
    assert path.stat().st_size < 1_500_000
    del made
    pool = pyarrow.default_memory_pool()
    before, begun = pool.max_memory(), time.process_time()
    sentence = rf"bomb\.parquet: {reason}.*\. Leave out what repeats, or save it as \.jsonl"
    with traced() as most, pytest.raises(InputError, match=sentence):
        load_file(path)
    assert most[0] < 20_000_000
    assert time.process_time() - begun < 5
    assert max(pool.max_memory() - before, 0) < 500_000_000


def test_texts_told_by_their_differences_are_bounded_too(tmp_path):
    path = tmp_path / "bomb.parquet"
    how = {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}, "compression": "zstd"}
    parquet.write_table(pyarrow.table({"text": ["x" * 10**6] * 300}), path, **how)
    assert path.stat().st_size < 100_000
    pool = pyarrow.default_memory_pool()
    before = pool.bytes_allocated()
    with pytest.raises(InputError, match=r"it unpacks to 1\d\d\.\d MB, from"):
        load_file(path)
    assert pool.bytes_allocated() - before < 10_000_000


@pytest.mark.slow
def test_a_parquet_file_of_a_million_short_rows_is_read(tmp_path):
    count = 1_000_000
    texts = [f"row {number}" for number in range(count)]
    labels = pyarrow.array(["good", "bad"] * (count // 2))
    parquet.write_table(pyarrow.table({"text": texts, "label": labels}), tmp_path / "rows.parquet", compression="zstd")
    table = read_parquet(tmp_path / "rows.parquet")
    assert len(table.rows) == count
    assert table.rows[-1] == (f"{tmp_path / 'rows.parquet'}, row {count}", {"text": f"row {count - 1}", "label": "bad"})


def test_a_saved_dataset_that_stands_for_far_more_than_its_size_is_refused(tmp_path):
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(tmp_path / "rows")
    (file,) = (tmp_path / "rows").glob("*.arrow")
    table = pyarrow.table({"text": pyarrow.nulls(10**9)})
    with pyarrow.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table)
    information = tmp_path / "rows" / "dataset_info.json"
    information.write_text(json.dumps(json.loads(information.read_text()) | {"features": None}))
    with pytest.raises(
        InputError, match=r"rows: this dataset can't be loaded \(data-00000-of-00001.arrow: it says that"
    ):
        load_file(tmp_path / "rows")


def test_kept_records_that_unpack_to_far_more_than_their_size_are_refused(tmp_path):
    with gzip.open(tmp_path / "records.jsonl.gz", "wb") as file:
        for _ in range(100):
            file.write(b'{"failed": "' + b"x" * 2_000_000 + b'", "error": ""}\n')
    with pytest.raises(InputError, match=r"these records can't be read \(it unpacks to 5\d\.\d MB, from \d+\.\d kB\)"):
        kept_in(tmp_path / "records.jsonl.gz")


@pytest.mark.parametrize("content", ['{"a":' * 100_000, "[" * 100_000, '{"method": ' + "[" * 100_000])
def test_deep_records_are_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(InputError, match="this record can't be read"):
        Record.read(tmp_path / "a.json")


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl"])
def test_deep_rows_are_refused(tmp_path, name):
    (tmp_path / name).write_text('{"text": ' + '{"a":' * 100_000)
    with pytest.raises(InputError, match="can't be read"):
        load_file(tmp_path / name)


def test_a_record_of_a_hundred_megabytes_is_refused_unread(tmp_path):
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(100 * 2**20)
    begun = time.process_time()
    with pytest.raises(InputError, match=f"it has 100 MiB, and no record has more than {MOST_BYTES // 2**20}"):
        Record.read(tmp_path / "a.json")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("predictions", "../../../outside.jsonl"),
        ("predictions", "/etc/passwd"),
        ("adapter", {"kind": "lora", "path": "../outside"}),
        ("adapter", {"kind": "lora", "path": "/etc"}),
    ],
)
def test_a_record_that_names_what_lies_outside_is_refused(tmp_path, capsys, field, value):
    folder = write_study(tmp_path / "study", [record("sft", 0.5)])
    (file,) = folder.glob("records/*/*.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | {field: value}))
    (tmp_path / "outside.jsonl").write_text("{}")
    with pytest.raises(InputError, match="which lies outside .*study and is not read"):
        load_records(folder)
    for command in (("report", folder), ("rescore", folder)):
        status, _, err = run(capsys, *command)
        assert status == 2
        assert "which lies outside" in err
    assert (tmp_path / "outside.jsonl").read_text() == "{}"


@pytest.mark.parametrize("part", ["records", "predictions/unit", "adapters", "plan.json", "units"])
def test_nothing_is_written_through_a_link_in_a_studys_folder(tmp_path, part):
    folder, outside = tmp_path / "study", tmp_path / "outside"
    opened(folder, study())
    outside.mkdir()
    target = outside / "file"
    target.write_text((folder / "plan.json").read_text())
    (folder / part).parent.mkdir(exist_ok=True)
    (folder / part).unlink(missing_ok=True)
    (folder / part).symlink_to(target if part.endswith(".json") else outside)
    before = {path: path.read_text() for path in outside.iterdir()}
    with pytest.raises(InputError, match=f"{part}: this links to {outside}.*, outside the folder"):
        opened(folder, study())
    assert {path: path.read_text() for path in outside.iterdir()} == before


def test_a_studys_folder_may_itself_be_a_link_and_hold_links_within(tmp_path):
    (tmp_path / "big-disk" / "a").mkdir(parents=True)
    folder = tmp_path / "study"
    folder.symlink_to(tmp_path / "big-disk")
    (tmp_path / "big-disk" / "a").rmdir()
    opened(folder, study())
    (folder / "records").mkdir()
    (folder / "latest").symlink_to("records")
    opened(folder, study())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("name: !!python/object/apply:os.system ['touch ran']", "could not determine a constructor"),
        ("a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n" for a, b in
         zip("abcdefgh", "bcdefghi", strict=True)), "its anchors stand for"),
        ("[" * 5000, "nested too deeply"),
        ("name: 2024-99-99", "month must be in"),
    ],
)  # fmt: skip
def test_studies_options_and_methods_of_yaml_end_in_a_sentence(tmp_path, capsys, monkeypatch, content, reason):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(content)
    rows, out = write_csv(tmp_path / "rows.csv"), tmp_path / "out"
    begun = time.process_time()
    status, _, err = run(capsys, "run", "a.yaml", "--out", out)
    assert status == 2
    assert reason in err
    status, _, err = run(capsys, "adapt", "--model", "smollm2-135m", "--data", rows, "--out", out, "--method", "a.yaml")
    assert status == 2
    assert reason in err
    status, _, err = run(capsys, "adapt", "--model", "smollm2-135m", "--data", rows, "--out", out, "--config", "a.yaml")
    assert status == 2
    assert "Traceback" not in err
    assert time.process_time() - begun < 15
    assert not (tmp_path / "ran").exists()
    assert not out.exists()
