import datasets
import pyarrow
import pytest

from ia2.tasks.files.arrow import check_arrow_folder, rows_of, written_bytes

TEXTS = ["ab", None, "abcd", "ab"]
MAP = pyarrow.MapArray.from_arrays(
    [0, 1, 2], pyarrow.array(["ab", "abcd"]).dictionary_encode(), pyarrow.array(["v", "v"]).dictionary_encode()
)


@pytest.mark.parametrize(
    ("array", "size"),
    [
        (pyarrow.array(TEXTS).dictionary_encode(), 8),
        (pyarrow.array(TEXTS).dictionary_encode()[2:], 6),
        (pyarrow.array([["ab"] * 3, None, []]), 3 * 2 + 3 * 4),
        (pyarrow.ListArray.from_arrays([0, 3, 4], pyarrow.array(TEXTS).dictionary_encode()), 8),
        (pyarrow.ListArray.from_arrays([0, 3, 4], pyarrow.array(TEXTS).dictionary_encode())[1:], 2),
        (pyarrow.StructArray.from_arrays([pyarrow.array(TEXTS).dictionary_encode()] * 2, ["a", "b"]), 16),
        (MAP, 2 + 1 + 4 + 1),
        (MAP[1:], 4 + 1),
        (MAP[:0], 0),
        (pyarrow.array([1, 2, 1], pyarrow.int64()), 24),
        (pyarrow.array([1, 2, 1], pyarrow.int64()).dictionary_encode(), 24),
        (pyarrow.array([b"abc"] * 5).dictionary_encode(), 15),
        (pyarrow.nulls(5).dictionary_encode(), 40),
    ],
)
def test_texts_count_wherever_they_stand(array, size):
    assert written_bytes(array) == size


def test_rows_are_those_of_arrow():
    columns = {"text": pyarrow.array(TEXTS).dictionary_encode(), "n": pyarrow.array([1, 2, None, 4])}
    batch = pyarrow.RecordBatch.from_pydict(columns)
    assert rows_of(batch) == batch.to_pylist()
    assert rows_of(batch)[2] == {"text": "abcd", "n": None}


def saved(folder, table, **options):
    datasets.Dataset.from_dict({"text": ["a", "b"]}).save_to_disk(folder)
    (file,) = folder.glob("*.arrow")
    with pyarrow.ipc.new_stream(file, table.schema, **options) as writer:
        writer.write_table(table)
    return folder


def test_what_datasets_writes_is_passed(tmp_path):
    rows = {"text": ["a" * 1000] * 300, "label": [0] * 300, "turns": [[{"role": "user"}]] * 300}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "rows", num_shards=2)
    assert len(list((tmp_path / "rows").glob("*.arrow"))) == 2
    check_arrow_folder(tmp_path / "rows")
    check_arrow_folder(saved(tmp_path / "nothing", pyarrow.table({"text": pyarrow.array([], pyarrow.string())})))


ENCODED = pyarrow.array(["x" * 1000] * 10).dictionary_encode()


@pytest.mark.parametrize(
    ("column", "options", "reason"),
    [
        (pyarrow.nulls(10**9), {}, "it says that it has 1000000000 rows; 1048576 are the most in"),
        (ENCODED, {}, "it holds texts once for many rows"),
        (pyarrow.array(["x"]).cast(pyarrow.string_view()), {}, "it has a column of Arrow's type string_view"),
        (
            pyarrow.RunEndEncodedArray.from_arrays(pyarrow.array([10**9], pyarrow.int64()), pyarrow.array(["x"])),
            *({}, "it has a column of Arrow's type run_end_encoded"),
        ),
        (
            pyarrow.array([[{"a": "x"}]]).cast(
                pyarrow.list_(pyarrow.struct([pyarrow.field("a", pyarrow.string_view())]))
            ),
            *({}, "it has a column of Arrow's type string_view"),
        ),
        *(
            (pyarrow.array(["x" * 10**6]), {"options": pyarrow.ipc.IpcWriteOptions(compression=name)}, "it is packed")
            for name in ("zstd", "lz4")
        ),
    ],
    ids=["nulls", "dictionary", "view", "run ends", "nested view", "zstd", "lz4"],
)
def test_what_stands_for_far_more_than_its_size_is_refused(tmp_path, column, options, reason):
    folder = saved(tmp_path / "rows", pyarrow.table({"text": column}), **options)
    with pytest.raises(ValueError, match=rf"data-00000-of-00001\.arrow: {reason}"):
        check_arrow_folder(folder)
