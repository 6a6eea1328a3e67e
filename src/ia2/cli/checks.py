"""What can be refused in a moment: names, files and folders, looked at before torch is imported, which takes seconds.

Everything else is refused by whoever uses it; a check here says the same sooner, and what may have been meant.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ia2.cache import check_writable
from ia2.cli.demo_folder import check_demo_folder
from ia2.cli.study_names import check_study_names
from ia2.cli.suggestions import did_you_mean
from ia2.errors import NO_FILE, FieldError, InputError, nothing_at
from ia2.models.names import check_model_name, kind_of
from ia2.models.packaged import PACKAGED
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.tasks.files import load_file
from ia2.tasks.files.hub import is_hub_name
from ia2.tasks.files.registry import READERS
from ia2.tasks.reviews import NAME as REVIEWS
from ia2.training.method_names import checked_method_name

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
PLAN_FILE = "plan.json"
KEPT_FILE = "records.jsonl.gz"
MOST_BYTES = 10_000_000
"""The largest file of rows that is read here; a larger one takes longer to read than torch to import."""


def check_inputs(command: str, settings: Mapping[str, Any]) -> None:
    """Refuse what a command's options name and isn't there, or isn't what it is to be.

    Args:
        command: its name.
        settings: the options with their values.

    Raises:
        InputError: an input can't be used.
    """
    for name, check in CHECKS.items():
        if settings.get(name) is not None:
            check(settings[name])
    # several studies have a folder each in that one
    if settings.get("out") is not None and (command == "adapt" or len(settings.get("experiment", ())) == 1):
        check_output(settings["out"])
    if command == "demo":
        check_demo_folder(settings["out"])
    if settings.get("data") is not None and command in ("adapt", "evaluate"):
        _check_rows(settings)


def check_model(name: str) -> None:
    """Refuse a MODEL that can't be one, or is a built-in one but for a letter.

    Raises:
        InputError: it isn't there, holds no model, or can't be a hub's id.
    """
    check_model_name(name)
    # ids of the hub have an owner, but for a few old ones that are like none of ours
    if kind_of(name) == "hub" and "/" not in name and (hint := did_you_mean(name, PACKAGED)):
        raise FieldError("model", name, f"there is no such built-in model.{hint}")


def check_file(path: Path) -> None:
    """Refuse a file of rows that isn't there, unless it is a folder or a dataset of the hub.

    Raises:
        InputError: there is no such file; a file of the same folder with a name like it is asked for.
    """
    if not path.exists() and not is_hub_name(path):
        raise nothing_at(path, f"no such file.{_sibling(path)}", hub="dataset")


def check_adapter(folder: Path | str) -> None:
    """Refuse a folder that holds no adapter; one kind of adapter, which `ia2 adapt` is told, is no folder.

    Raises:
        InputError: there is no such folder, or no adapter in it; where it lies deeper is told.
    """
    if isinstance(folder, str):
        return
    if not folder.is_dir():
        raise _no_folder(folder)
    if all((folder / name).is_file() for name in ADAPTER_FILES):
        return
    if (folder / "adapter" / ADAPTER_FILES[0]).is_file():
        raise InputError(f"{folder}: no adapter here. Did you mean {folder / 'adapter'}?")
    missing = next(name for name in ADAPTER_FILES if not (folder / name).is_file())
    raise InputError(f"{folder}: no adapter here: {missing} is missing. Name the folder that holds it.")


def check_task(name: str) -> None:
    """Refuse the name of a task that there isn't.

    Raises:
        FieldError: there is no such task.
    """
    names = (REVIEWS, *BENCHMARKS)
    if name not in names:
        raise FieldError("task", name, f"no such task.{did_you_mean(name, names)} Choose from {', '.join(names)}.")


def check_method(name: str) -> None:
    """Refuse a method that there isn't, or whose file isn't there.

    Raises:
        FieldError: there is none of the name, or no such file.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        checked_method_name(name)
    elif not path.is_file():
        raise FieldError("method", name, _no_file(path))


def check_context(path: Path) -> None:
    """Refuse an instruction's file that isn't there.

    Raises:
        FieldError: there is no such file.
    """
    if not path.is_file():
        raise FieldError("context", path, _no_file(path))


def check_experiments(paths: Iterable[Path]) -> None:
    """Refuse a study's file that isn't there, or names a model, task or method that there isn't.

    Raises:
        InputError: there is no such file, or no such thing as it names.
    """
    for path in paths:
        if not path.is_file():
            raise InputError(f"{path}: {_no_file(path)}")
        check_study_names(path, check_model)


def check_study(folder: Path) -> None:
    """Refuse a folder that holds no study.

    Raises:
        InputError: there is no such folder, or no study in it.
    """
    if not folder.is_dir():
        raise _no_folder(folder)
    if (folder / KEPT_FILE).is_file():
        return
    if not (folder / PLAN_FILE).is_file() and (folder.parent / PLAN_FILE).is_file():
        raise InputError(f"{folder}: no study here. Did you mean {folder.parent}?")


def check_output(folder: Path) -> None:
    """Refuse a folder that a study can't go to: it is a file, or holds something that is no study.

    Raises:
        InputError: nothing can be written there.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: this is a file, but a folder is needed. Name another one.")
    # another process may be writing the plan at this moment, or was killed at it
    held = [entry for entry in folder.iterdir() if not entry.name.startswith(".partial-")] if folder.is_dir() else []
    if held and not (folder / PLAN_FILE).exists():
        raise InputError(f"{folder}: this folder holds something else. Name another one with --out.")


def check_store(folder: Path) -> None:
    """Refuse a folder for what studies share that is a file, or can't be made.

    Raises:
        InputError: nothing can be kept there.
    """
    if folder.exists() and not folder.is_dir():
        raise _no_folder(folder)
    check_writable(folder)


CHECKS: Mapping[str, Callable[[Any], None]] = {
    "model": check_model,
    "adapter": check_adapter,
    "method": check_method,
    "task": check_task,
    "data": check_file,
    "eval_data": check_file,
    "unlabelled": check_file,
    "context": check_context,
    "experiment": check_experiments,
    "folder": check_study,
    "out": check_writable,
    "store": check_store,
}
"""The check of each option, in the order in which they are made."""


def _check_rows(settings: Mapping[str, Any]) -> None:
    """Read a small file of labelled rows as the command will; what is found out is found out at once."""
    path = settings["data"]
    evaluation = settings.get("eval_data")
    files = [file for file in (path, evaluation) if file is not None]
    if not all(file.is_file() and file.suffix.lower() in READERS for file in files):
        return
    if sum(file.stat().st_size for file in files) <= MOST_BYTES:
        told = {name: settings[name] for name in ("text", "label", "response_kind", "encoding")}
        load_file(path, evaluation_path=evaluation, **told)


def _no_file(path: Path) -> str:
    """What is said behind a path where a file is meant and there is none."""
    if path.exists():
        return "this is a folder. Name a file." if path.is_dir() else NO_FILE
    return f"this file can't be read (No such file or directory).{_sibling(path)}"


def _no_folder(path: Path) -> InputError:
    """What to raise where a folder is meant and there is none."""
    if path.is_file():
        return InputError(f"{path}: this is a file. Name the folder.")
    return nothing_at(path, f"there is no such folder.{_sibling(path)}")


def _sibling(path: Path) -> str:
    """A question with the name in the same folder that is most like that of a path which doesn't exist."""
    if not path.parent.is_dir():
        return ""
    # endings are alike without meaning the same file
    alike = [entry.name for entry in path.parent.iterdir() if did_you_mean(path.stem, [entry.stem])]
    hint = did_you_mean(path.name, alike)
    return hint.replace("mean ", f"mean {path.parent}/", 1) if hint and path.parent != Path() else hint
