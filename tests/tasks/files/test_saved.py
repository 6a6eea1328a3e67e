import json

import datasets
import pytest

from ia2.errors import InputError
from ia2.tasks.files import load_file
from ia2.tasks.files.saved import read_saved, source_of_splits

FEATURES = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["bad", "good"])})


def dataset(texts, labels):
    return datasets.Dataset.from_dict({"text": texts, "label": labels}, features=FEATURES)


def test_a_saved_dataset_gives_names_for_ids_and_rows_in_its_order(tmp_path):
    rows = dataset(["a", "b", "c", "d"], [0, 1, -1, None]).select([1, 0, 3, 2])
    rows.save_to_disk(tmp_path / "rows")
    task = load_file(tmp_path / "rows")
    assert [(row.query, row.response) for row in task.pool] == [("Text:b\nLabel:", " good"), ("Text:a\nLabel:", " bad")]
    assert (task.name, task.labels, task.source[:20]) == ("rows", (" bad", " good"), "folder rows, sha256:")
    assert "rows: 2 rows without a text or a label were left out." in task.notes


def test_of_several_splits_train_teaches_and_the_first_with_labels_is_evaluated(tmp_path):
    splits = {
        "validation": dataset(["c", "b"], [1, 1]),
        "train": dataset(["a", "b"], [0, 1]),
        "test": dataset(["d"], [-1]),
    }
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "rows")
    task = load_file(tmp_path / "rows")
    assert [row.query for row in task.pool] == ["Text:a\nLabel:"]
    assert [row.query for row in task.evaluation] == ["Text:c\nLabel:", "Text:b\nLabel:"]
    assert "rows: the split train is read." in task.notes
    assert "train: the split validation is evaluated, as no evaluation file was named." in task.notes
    datasets.DatasetDict(splits | {"test": dataset(["d"], [0])}).save_to_disk(tmp_path / "more")
    assert [row.query for row in load_file(tmp_path / "more").evaluation] == ["Text:d\nLabel:"]
    named = load_file(tmp_path / "rows", evaluation_path=tmp_path / "more")
    assert [row.query for row in named.evaluation] == ["Text:d\nLabel:"]
    assert "more: the split test is evaluated." in named.notes


def test_splits_without_one_called_train_are_refused_and_the_advice_works(tmp_path):
    splits = {"2023": dataset(["a", "b"], [0, 1]), "2024": dataset(["c"], [1])}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "rows")
    with pytest.raises(
        InputError, match="no split is called train; the splits are 2023, 2024. Name one, such as"
    ) as raised:
        load_file(tmp_path / "rows")
    advised = str(raised.value).removesuffix(".").rpartition(" ")[2]
    assert load_file(advised).labels == (" bad", " good")


def test_a_folder_of_something_else_is_refused_and_the_advice_works(tmp_path):
    with pytest.raises(
        InputError, match="was not written by datasets.save_to_disk. Name a file, or a folder written by save_to_disk"
    ):
        load_file(tmp_path)
    (tmp_path / "rows.csv").write_text("text,label\na,x\nb,y\n")
    with pytest.raises(InputError, match="Name a file, such as .*rows.csv.$") as raised:
        load_file(tmp_path)
    assert len(load_file(str(raised.value).removesuffix(".").rpartition(" ")[2]).pool) == 2


def test_a_damaged_folder_is_refused(tmp_path):
    dataset(["a"], [0]).save_to_disk(tmp_path / "rows")
    state = json.loads((tmp_path / "rows" / "state.json").read_text())
    (tmp_path / "rows" / state["_data_files"][0]["filename"]).write_bytes(b"no arrow")
    with pytest.raises(InputError, match=r"rows: this dataset can't be loaded \(.*\). Save it again.$") as raised:
        load_file(tmp_path / "rows")
    assert "\n" not in str(raised.value)


def test_columns_of_images_are_left_alone(tmp_path):
    features = datasets.Features({"text": datasets.Value("string"), "image": datasets.Image()})
    image = {"bytes": b"no image at all", "path": None}
    datasets.Dataset.from_dict({"text": ["a"], "image": [image]}, features=features).save_to_disk(tmp_path / "rows")
    assert read_saved(tmp_path / "rows").table.rows[0][1]["text"] == "a"


def test_a_line_break_in_a_splits_name_breaks_no_sentence(tmp_path):
    splits = {name: (tmp_path / name, dataset(["a"], [0])) for name in ("a\nb", "c")}
    with pytest.raises(InputError, match=r"the splits are a\\nb, c\. Name one, such as .*a\\nb\.$") as raised:
        source_of_splits(splits, "rows", "folder rows")
    assert "\n" not in str(raised.value)
