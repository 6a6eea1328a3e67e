from datetime import datetime
from decimal import Decimal

import datasets
import pyarrow
import pytest
from pyarrow import parquet
from table_files import check_refusal

from ia2.errors import InputError
from ia2.tasks.files import load_file
from ia2.tasks.files.parquet import named_rows, read_parquet


def test_what_is_no_parquet_file_is_refused(tmp_path):
    check_refusal(tmp_path, "rows.parquet", b"text,label\na,x\n", "not a Parquet file")


def test_a_file_that_was_cut_short_is_refused(tmp_path):
    path = tmp_path / "whole.parquet"
    parquet.write_table(pyarrow.table({"text": ["a", "b"], "label": ["x", "y"]}), path)
    check_refusal(tmp_path, "rows.parquet", path.read_bytes()[:-20], "not a Parquet file")


def test_values_are_pythons_own_and_dictionary_columns_are_decoded(tmp_path):
    columns = {
        "text": pyarrow.array(["a", None, "b"]).dictionary_encode(),
        "label": pyarrow.array([1.5, None, 2.0], type=pyarrow.float32()),
        "at": pyarrow.array([datetime(2024, 7, 26)] * 3, type=pyarrow.timestamp("ns")),
    }
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table(columns), path, row_group_size=2)
    table = read_parquet(path)
    assert table.columns == ("text", "label", "at")
    assert [position for position, _ in table.rows] == [f"{path}, row {number}" for number in (1, 2, 3)]
    assert [(row["text"], row["label"]) for _, row in table.rows] == [("a", 1.5), (None, None), ("b", 2.0)]


TEXTS = ["a", None, "bb", "a", "日本"]
COLUMNS = {
    "string": pyarrow.array(TEXTS),
    "large_string": pyarrow.array(TEXTS, pyarrow.large_string()),
    "string_view": pyarrow.array(TEXTS, pyarrow.string_view()),
    "binary": pyarrow.array([b"a", None, b"bb"]),
    "fixed": pyarrow.array([b"abc"] * 5, pyarrow.binary(3)),
    "categories": pyarrow.DictionaryArray.from_arrays(
        pyarrow.array([0, None, 1], pyarrow.int8()), ["x", "y"], ordered=True
    ),
    "codes": pyarrow.DictionaryArray.from_arrays(pyarrow.array([0, None, 1], pyarrow.int8()), [5, 6]),
    "lists": pyarrow.array([["a", "b"], None, [], ["c", None]], pyarrow.list_(pyarrow.large_string())),
    "pairs": pyarrow.array([["a", "b"]] * 3, pyarrow.list_(pyarrow.string(), 2)),
    "map": pyarrow.array([[("k", "v")], None, [], [("k", None)]], pyarrow.map_(pyarrow.string(), pyarrow.string())),
    "objects": pyarrow.array([{"a": "x", "b": {"c": "d"}}] * 3),
    "turns": pyarrow.array([[{"role": "user", "content": "x"}]] * 3),
    "decimal": pyarrow.array([Decimal("1.5")] * 3),
    "json": pyarrow.array(['{"a":1}'] * 3, pyarrow.json_()),
    "flags": pyarrow.array([True, None, False]),
}


@pytest.mark.parametrize("store_schema", [True, False])
@pytest.mark.parametrize("name", COLUMNS)
def test_every_type_is_read_as_pyarrow_reads_it(tmp_path, name, store_schema):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({name: COLUMNS[name]}), path, store_schema=store_schema, row_group_size=2)
    with parquet.ParquetFile(path) as file:
        expected = [row for batch in file.iter_batches() for row in batch.to_pylist()]
    assert [row for _, row in read_parquet(path).rows] == expected


@pytest.mark.parametrize("encoding", ["PLAIN", "DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY", "fallback"])
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_texts_are_read_however_they_are_encoded(tmp_path, encoding, nested, version):
    path = tmp_path / "rows.parquet"
    texts = [None if number % 7 == 0 else f"{number * 7919 % 5000} " * 9 for number in range(5000)]
    table = pyarrow.table({"text": [[text, "b"] for text in texts] if nested else texts})
    # a dictionary that is full goes on as plain texts
    how = {"dictionary_pagesize_limit": 5000} if encoding == "fallback" else {"use_dictionary": False}
    if encoding != "fallback":
        how["column_encoding"] = {"text.list.element" if nested else "text": encoding}
    parquet.write_table(table, path, row_group_size=2000, data_page_version=version, **how)
    assert [row for _, row in read_parquet(path).rows] == table.to_pylist()


def test_folders_above_the_file_are_no_columns(tmp_path):
    (tmp_path / "label=x").mkdir()
    path = tmp_path / "label=x" / "rows.parquet"
    parquet.write_table(pyarrow.table({"text": ["a"]}), path)
    assert read_parquet(path).columns == ("text",)


def test_a_column_name_that_comes_twice_is_refused(tmp_path):
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array(["a"])] * 2, names=["text", "text"]), path)
    with pytest.raises(InputError, match="two columns are called 'text'. Give each its own name"):
        load_file(path)


def test_ids_of_a_class_label_become_its_names(tmp_path):
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])}
    )
    rows = {"text": ["a", "b", "c", "d"], "label": [1, 0, -1, None]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "rows.parquet")
    assert [row["label"] for _, row in read_parquet(tmp_path / "rows.parquet").rows] == ["good", "bad", None, None]
    assert load_file(tmp_path / "rows.parquet").labels == (" bad", " good")


def test_an_id_without_a_name_is_refused_by_its_row(tmp_path):
    with pytest.raises(
        InputError, match="rows.parquet, row 2: 'label' holds the id 2, but the file has names only for 0 to 1"
    ):
        named_rows(tmp_path / "rows.parquet", [{"label": 1}, {"label": 2}], {"label": ["bad", "good"]})


@pytest.mark.parametrize(
    "metadata",
    [
        *(b"no JSON", b"[]", b'{"info": {"features": {"label": {"_type": "ClassLabel"}}}}'),
        pytest.param(b"[" * 100_000, id="nested deeply"),
    ],
)
def test_what_else_stands_where_names_may_stand_is_passed_over(tmp_path, metadata):
    table = pyarrow.table({"text": ["a"], "label": [1]}).replace_schema_metadata({b"huggingface": metadata})
    parquet.write_table(table, tmp_path / "rows.parquet")
    assert read_parquet(tmp_path / "rows.parquet").rows[0][1] == {"text": "a", "label": 1}
