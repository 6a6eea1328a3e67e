"""Fast checks of names, files and folders, made before torch is imported, which takes seconds.

Everything is checked again where it is used; a check here reports the same problem sooner, with a suggestion.
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
"""Size in bytes of the largest file of rows that is read here; a larger one takes longer than importing torch."""


def check_inputs(command: str, settings: Mapping[str, Any]) -> None:
    """Refuse options of a command that name missing or unsuitable files, folders, models, tasks or methods.

    Args:
        command: name of the command.
        settings: the options with their values.

    Raises:
        InputError: an input can't be used.
    """
    for name, check in CHECKS.items():
        if settings.get(name) is not None:
            check(settings[name])
    # several studies get subfolders of it
    if settings.get("out") is not None and (command == "adapt" or len(settings.get("experiment", ())) == 1):
        check_output(settings["out"])
    if command == "demo":
        check_demo_folder(settings["out"])
    if settings.get("data") is not None and command in ("adapt", "evaluate"):
        _check_rows(settings)


def check_model(name: str) -> None:
    """Refuse a MODEL that can't exist, or looks like a mistyped built-in name.

    Raises:
        InputError: the path doesn't exist or holds no model, or the name can't be a hub id.
    """
    check_model_name(name)
    # hub ids have an owner, except for a few old ones, none of which resembles a built-in name
    if kind_of(name) == "hub" and "/" not in name and (hint := did_you_mean(name, PACKAGED)):
        raise FieldError("model", name, f"there is no such built-in model.{hint}")


def check_file(path: Path) -> None:
    """Refuse a path of rows that doesn't exist and isn't the name of a hub dataset.

    Raises:
        InputError: there is no such file; the error suggests a similar name in the same folder.
    """
    if not path.exists() and not is_hub_name(path):
        raise nothing_at(path, f"no such file.{_sibling(path)}", hub="dataset")


def check_adapter(folder: Path | str) -> None:
    """Refuse a folder that holds no adapter; the name of a kind, as for `ia2 adapt`, passes.

    Raises:
        InputError: there is no such folder, or no adapter in it; the error suggests a subfolder that holds one.
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
    """Refuse the name of an unknown task.

    Raises:
        FieldError: there is no such task.
    """
    names = (REVIEWS, *BENCHMARKS)
    if name not in names:
        raise FieldError("task", name, f"no such task.{did_you_mean(name, names)} Choose from {', '.join(names)}.")


def check_method(name: str) -> None:
    """Refuse an unknown method, or a missing file of a method.

    Raises:
        FieldError: there is no such method or file.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        checked_method_name(name)
    elif not path.is_file():
        raise FieldError("method", name, _no_file(path))


def check_context(path: Path) -> None:
    """Refuse a missing file of an instruction.

    Raises:
        FieldError: there is no such file.
    """
    if not path.is_file():
        raise FieldError("context", path, _no_file(path))


def check_experiments(paths: Iterable[Path]) -> None:
    """Refuse a study's file that is missing, or names an unknown model, task or method.

    Raises:
        InputError: there is no such file, or it has an unknown name.
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
    """Refuse an output folder that is a file, or holds something else than a study.

    Raises:
        InputError: a study can't be written there.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: this is a file, but a folder is needed. Name another one.")
    # partial plans don't count: another process is writing one, or was killed while writing it
    held = [entry for entry in folder.iterdir() if not entry.name.startswith(".partial-")] if folder.is_dir() else []
    if held and not (folder / PLAN_FILE).exists():
        raise InputError(f"{folder}: this folder holds something else. Name another one with --out.")


def check_store(folder: Path) -> None:
    """Refuse a folder for shared work that is a file, or can't be created.

    Raises:
        InputError: nothing can be stored there.
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
"""Check of each option, in order of execution."""


def _check_rows(settings: Mapping[str, Any]) -> None:
    """Read small files of labelled rows as the command will, so that mistakes in them are reported at once."""
    path = settings["data"]
    evaluation = settings.get("eval_data")
    files = [file for file in (path, evaluation) if file is not None]
    if not all(file.is_file() and file.suffix.lower() in READERS for file in files):
        return
    if sum(file.stat().st_size for file in files) <= MOST_BYTES:
        options = {name: settings[name] for name in ("text", "label", "response_kind", "encoding")}
        load_file(path, evaluation_path=evaluation, **options)


def _no_file(path: Path) -> str:
    """Return the error text, to follow a path, for a path that should be a file and isn't."""
    if path.exists():
        return "this is a folder. Name a file." if path.is_dir() else NO_FILE
    return f"this file can't be read (No such file or directory).{_sibling(path)}"


def _no_folder(path: Path) -> InputError:
    """Return the error for a path that should be a folder and isn't."""
    if path.is_file():
        return InputError(f"{path}: this is a file. Name the folder.")
    return nothing_at(path, f"there is no such folder.{_sibling(path)}")


def _sibling(path: Path) -> str:
    """Return a question with the most similar name in the folder of a missing path; empty if there is none."""
    if not path.parent.is_dir():
        return ""
    # compare stems first, since equal suffixes make unrelated names similar
    alike = [entry.name for entry in path.parent.iterdir() if did_you_mean(path.stem, [entry.stem])]
    hint = did_you_mean(path.name, alike)
    return hint.replace("mean ", f"mean {path.parent}/", 1) if hint and path.parent != Path() else hint
