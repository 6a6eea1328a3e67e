"""Loading hub datasets by names such as `hf:owner/name` or `hf:owner/name:config:split`."""

import re
from pathlib import Path

from ia2.errors import InputError, printable
from ia2.tasks.files.saved import RowSource, source_of_splits, table_of_dataset
from ia2.tasks.hub_commit import commit_of

PREFIX = "hf:"
NAME = re.compile(r"hf:((?:[\w.-]+/)?[\w.-]+)(?::([^:/]*))?(?::([^:/]+))?", re.ASCII)
INSTEAD = "name a file or a folder written by save_to_disk"


def is_hub_name(path: Path) -> bool:
    """Whether a data path names a hub dataset.

    Example:
        >>> is_hub_name(Path("hf:owner/name")), is_hub_name(Path("rows.csv"))
        (True, False)
    """
    return str(path).startswith(PREFIX)


def read_hub(path: Path) -> RowSource:
    """Load a hub dataset at its current commit.

    Args:
        path: its name, `hf:owner/name`, followed where needed by a configuration (which may be empty) and a split.

    Raises:
        InputError: the name is malformed, the hub can't be reached or denies access to the dataset, or a configuration
            or a split must be named.
    """
    name, config, split = _parsed(path)
    commit = commit_of(name, named=str(path), instead=INSTEAD)
    import datasets

    try:
        if config is None:
            config = datasets.get_dataset_default_config_name(name, revision=commit)
        configs = [] if config is not None else datasets.get_dataset_config_names(name, revision=commit)
        if not configs:
            dataset = datasets.load_dataset(name, config, split=split, revision=commit)
    except Exception as error:  # datasets, its readers and each transport raise their own errors
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise InputError(f"{path}: this dataset can't be loaded ({reason}). Check its name, or {INSTEAD}.") from error
    if configs:
        raise InputError(
            f"{path}: this dataset has several configurations: {', '.join(map(printable, configs))}. Name one, such as "
            f"hf:{name}:{printable(configs[0])}."
        )
    origin = f"hub {name}@{commit}"
    configured = f"hf:{name}:{config or ''}"
    if split is not None:
        return RowSource(table_of_dataset(path, dataset), f"{origin}, {configured.removeprefix(PREFIX)}:{split}")
    splits = {key: (Path(f"{configured}:{key}"), rows) for key, rows in dataset.items()}
    return source_of_splits(splits, str(path), origin if config is None else f"{origin}, configuration {config}")


def commit_now(path: Path) -> str:
    """Return the current commit of a hub dataset.

    Raises:
        InputError: the name is malformed, or the hub can't be reached or denies access to the dataset.
    """
    return commit_of(_parsed(path)[0], named=str(path), instead=INSTEAD)


def _parsed(path: Path) -> tuple[str, str | None, str | None]:
    """Split a name into dataset, configuration and split."""
    parsed = NAME.fullmatch(path.as_posix())
    if parsed is None:
        raise InputError(
            f"{path}: this is not a name of a hub dataset. Use hf:owner/name or hf:owner/name:config:split."
        )
    return parsed[1], parsed[2] or None, parsed[3]
