"""Folders that `save_to_disk` of the library datasets wrote, and the splits of its datasets."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ia2.errors import InputError
from ia2.tasks.files.header import distinct_columns
from ia2.tasks.files.parquet import named_rows
from ia2.tasks.files.table import Table

TRAIN = "train"
EVALUATION_SPLITS = ("test", "validation", "valid", "val", "dev")
"""Splits that may be evaluated; the first whose rows have labels is."""


@dataclass(frozen=True)
class RowSource:
    """What a name of data stands for."""

    table: Table
    """Its rows, or those of its train split."""
    origin: str
    """Where they come from, for the record."""
    evaluation: tuple[Table, ...] = ()
    """Tables of splits that may be evaluated, in the order of preference."""


def read_saved(path: Path) -> RowSource:
    """Read a folder of `Dataset.save_to_disk` or `DatasetDict.save_to_disk`.

    Raises:
        InputError: the folder holds no such dataset or a damaged one, or it has several splits and none called train.

    Example:
        >>> import datasets
        >>> datasets.Dataset.from_dict({"text": ["a"], "label": [1]}).save_to_disk("rows")
        >>> read_saved(Path("rows")).table.rows
        (('rows, row 1', {'text': 'a', 'label': 1}),)
    """
    if not any((path / name).is_file() for name in ("dataset_dict.json", "state.json")):
        files = sorted(
            file for file in path.iterdir() if file.suffix.lower() in (".csv", ".parquet", ".jsonl", ".json")
        )
        hint = f"Name a file, such as {files[0]}." if files else "Name a file, or a folder written by save_to_disk."
        raise InputError(f"{path}: this folder was not written by datasets.save_to_disk. {hint}")
    import datasets

    try:
        dataset = datasets.load_from_disk(str(path))
    except Exception as error:  # datasets, pyarrow and the file system have errors of their own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: this dataset can't be loaded ({reason}). Save it again.") from error
    origin = f"folder {path.name}"
    if not isinstance(dataset, dict):
        return RowSource(table_of_dataset(path, dataset), origin)
    return source_of_splits({split: (path / split, rows) for split, rows in dataset.items()}, str(path), origin)


def source_of_splits(splits: Mapping[str, tuple[Path, Any]], name: str, origin: str) -> RowSource:
    """The train split of a dataset, or its only one, and those that may be evaluated.

    Args:
        splits: for each split the name by which it alone can be named as data, and its rows.
        name: what the person called the dataset.
        origin: where it comes from, for the record.

    Raises:
        InputError: there are several splits and none called train.
    """
    train = next(iter(splits)) if len(splits) == 1 else TRAIN
    if train not in splits:
        alone = next((path for path, _ in splits.values()), name)
        raise InputError(
            f"{name}: no split is called train; the splits are {', '.join(splits)}. Name one, such as {alone}."
        )
    evaluation = [splits[split] for split in EVALUATION_SPLITS if split in splits and split != train]
    notes = (f"{Path(name).name}: the split {train} is read.",)
    return RowSource(
        table_of_dataset(*splits[train], notes), origin, tuple(table_of_dataset(*split) for split in evaluation)
    )


def table_of_dataset(path: Path, dataset: Any, notes: tuple[str, ...] = ()) -> Table:
    """The rows of a `datasets.Dataset`, counted from 1, with names instead of the ids of a `ClassLabel`.

    Raises:
        InputError: an id has no name.
    """
    import datasets

    names = {
        column: feature.names
        for column, feature in dataset.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    # as Arrow's values, since images and sounds would be decoded
    values = dataset.with_format("arrow")[:].to_pylist() if len(dataset) else []
    columns = distinct_columns(path, dataset.column_names)
    return Table(path, columns, named_rows(path, values, names), notes)
