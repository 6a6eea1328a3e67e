"""Reading folders written by the datasets library's `save_to_disk`, and choosing among a dataset's splits."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ia2.errors import InputError, printable
from ia2.tasks.files.arrow import check_arrow_folder
from ia2.tasks.files.header import distinct_columns
from ia2.tasks.files.parquet import named_rows
from ia2.tasks.files.table import Table

TRAIN = "train"
EVALUATION_SPLITS = ("test", "validation", "valid", "val", "dev")
"""Names of evaluation splits, in order of preference; the first with labels is evaluated."""


@dataclass(frozen=True)
class RowSource:
    """The rows that a data path refers to."""

    table: Table
    """The rows of the dataset or of its train split."""
    origin: str
    """Provenance of the rows, for the record."""
    evaluation: tuple[Table, ...] = ()
    """Tables of the evaluation splits, in order of preference."""


def read_saved(path: Path) -> RowSource:
    """Read a folder written by `Dataset.save_to_disk` or `DatasetDict.save_to_disk`.

    Raises:
        InputError: the folder holds no such dataset or a damaged one, or several splits of which none is called train.

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
        check_arrow_folder(path)
        dataset = datasets.load_from_disk(str(path))
    except Exception as error:  # datasets, pyarrow and the file system raise their own errors
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: this dataset can't be loaded ({reason}). Save it again.") from error
    origin = f"folder {path.name}"
    if not isinstance(dataset, dict):
        return RowSource(table_of_dataset(path, dataset), origin)
    return source_of_splits({split: (path / split, rows) for split, rows in dataset.items()}, str(path), origin)


def source_of_splits(splits: Mapping[str, tuple[Path, Any]], name: str, origin: str) -> RowSource:
    """Return a dataset's train split, or its only split, together with its evaluation splits.

    Args:
        splits: for each split the data path that selects it alone, and its rows.
        name: the user's name for the dataset.
        origin: provenance of the dataset, for the record.

    Raises:
        InputError: there are several splits and none called train.
    """
    train = next(iter(splits)) if len(splits) == 1 else TRAIN
    if train not in splits:
        alone = next((path for path, _ in splits.values()), name)
        names = ", ".join(map(printable, splits))
        raise InputError(
            f"{name}: no split is called train; the splits are {names}. Name one, such as {printable(alone)}."
        )
    evaluation = [splits[split] for split in EVALUATION_SPLITS if split in splits and split != train]
    notes = (f"{Path(name).name}: the split {train} is read.",)
    return RowSource(
        table_of_dataset(*splits[train], notes), origin, tuple(table_of_dataset(*split) for split in evaluation)
    )


def table_of_dataset(path: Path, dataset: Any, notes: tuple[str, ...] = ()) -> Table:
    """Return the table of a `datasets.Dataset`, its rows numbered from 1 and `ClassLabel` ids replaced by names.

    Raises:
        InputError: an id has no name.
    """
    import datasets

    names = {
        column: feature.names
        for column, feature in dataset.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
    # as Arrow values, because datasets would decode images and audio
    values = dataset.with_format("arrow")[:].to_pylist() if len(dataset) else []
    columns = distinct_columns(path, dataset.column_names)
    return Table(path, columns, named_rows(path, values, names), notes)
