"""Loading of a study's inputs: rows of built-in tasks and users' files, the context, and digests of files."""

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from ia2.errors import FieldError, InputError
from ia2.experiments.schema_parts import Rows
from ia2.tasks.benchmark import DEFAULTS, BenchmarkOptions
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.tasks.files import load_file
from ia2.tasks.files.hub import commit_now, is_hub_name
from ia2.tasks.load import load_task
from ia2.tasks.task import Instruction, Task


def load_rows(rows: Rows, name: str | None, data_dir: Path | None = None, options: BenchmarkOptions = DEFAULTS) -> Task:
    """Load a task, and set how its free-text responses end.

    Args:
        rows: the task's row settings, with its file if it has one.
        name: name of the task; None for the file's own name.
        data_dir: a folder of benchmark files instead of the hub.
        options: how rows of a benchmark become queries.

    Raises:
        InputError: the task can't be loaded, its responses are labels and settings for free text are given, or
            unlabelled texts are given and its queries aren't plain texts.
    """
    if rows.data is not None:
        task = load_file(
            rows.data,
            text=rows.text,
            label=rows.label,
            evaluation_path=rows.eval_data,
            response_kind=rows.response_kind,
            encoding=rows.encoding,
        )
        task = replace(task, name=name or task.name)
    else:
        assert name is not None, "what comes from no file has a name"
        _check_unlabelled(rows.unlabelled, name)
        task = load_task(name, data_dir=data_dir, options=options)
    fields = ("max_new_tokens", "teacher_tokens", "stop")
    response_settings = {field: value for field in fields if (value := getattr(rows, field)) is not None}
    if response_settings and task.response_kind == "label":
        raise FieldError(
            next(iter(response_settings)),
            None,
            f"this is for responses of free text, and those of {task.name} are labels.",
        )
    if "max_new_tokens" in response_settings:
        response_settings.setdefault("teacher_tokens", None)  # max_new_tokens then limits the teacher as well
    return replace(task, **response_settings)


def _check_unlabelled(path: Path | None, name: str) -> None:
    """Refuse unlabelled texts for a built-in task whose queries aren't plain texts. Raises FieldError."""
    benchmark = BENCHMARKS.get(name)
    if path is None or benchmark is None or benchmark.asks_of_texts:
        return
    others = [other.name for other in BENCHMARKS.values() if other.asks_of_texts and not other.evaluation_only]
    raise FieldError(
        "unlabelled",
        path,
        f"{name} asks questions, which a text can't be. Use a file of your own, or one of {', '.join(others)}.",
    )


def read_context(path: Path | None) -> Instruction | None:
    """Return the text that precedes every query, if there is one.

    Raises:
        FieldError: the file can't be read, or is empty.
    """
    return Instruction(text_of("context", path)) if path is not None else None


def text_of(field: str, path: Path) -> str:
    """Read a user's text file.

    Args:
        field: the setting that an error names.
        path: the file.

    Raises:
        FieldError: the file can't be read, or is empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise FieldError(field, path, f"this file can't be read ({reason}).") from error
    if not text:
        raise FieldError(field, path, "this file is empty.")
    return text


def file_digests(paths: Iterable[Path]) -> dict[str, str]:
    """Return the SHA-256 of each file or folder, in hexadecimal, by path.

    A folder's digest covers its files and their relative paths. Hub datasets, which have commits, are left out.

    Raises:
        InputError: a file can't be read.
    """
    digests = {}
    for path in paths:
        if is_hub_name(path):
            continue
        try:
            digests[str(path)] = _folder_digest(path) if path.is_dir() else _file_digest(path)
        except OSError as error:
            raise InputError(f"{path}: this file can't be read ({error.strerror}).") from error
    return digests


def hub_commits(paths: Iterable[Path]) -> dict[str, str]:
    """Return the current commit of each hub dataset among these paths, by name.

    Raises:
        InputError: the hub can't be reached, or reports no commit.
    """
    return {str(path): commit_now(path) for path in paths if is_hub_name(path)}


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folder_digest(folder: Path) -> str:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{_file_digest(path)} {path.relative_to(folder).as_posix()}\n" for path in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
