"""Resolution of a command's options: the study of an adaptation, its rows, and defaults chosen for the user."""

import re
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ia2.adapters.kind import AdapterKind
from ia2.adapters.registry import adapter_of
from ia2.cli.options import Adapt, Source
from ia2.errors import InputError
from ia2.experiments.baseline_names import LOGISTIC, RECALIBRATED
from ia2.experiments.rows import load_rows
from ia2.experiments.schema import Experiment
from ia2.experiments.schema_parts import Rows
from ia2.models.names import check_model_name, kind_of, path_of
from ia2.progress import Progress
from ia2.prompting.fewshot import FewShotSet
from ia2.tasks.task import Task
from ia2.training.method_files import field_error, method_of, read_description
from ia2.training.methods import Method, method_named

MOST_TRAINING_ROWS = 128
TASK_TRAINING_ROWS = 16
ROWS_OPTIONS = tuple(Rows.model_fields)

Checked = TypeVar("Checked", bound=BaseModel)


def study_of_adapt(options: Adapt, progress: Progress) -> Experiment:
    """Return the single-unit study of an `ia2 adapt` command.

    Args:
        options: the command's options.
        progress: receives messages about choices made for the user.

    Raises:
        InputError: an option is invalid, or rows can't be loaded or are too few.
    """
    check_model_name(options.model)
    entry, method = method_of_options(options)
    adapter = adapter_of(options.adapter, options.sizes)
    task = load_task_of(options).trainable()
    n = options.n or default_n(options, task)
    measured = bool(FewShotSet.draw(task, n, options.seed, options.draw).evaluation)
    compared: list[Any] = []
    if options.compare and measured:
        recalibrated = RECALIBRATED if task.labels else ()
        compared = ["zero-shot", *(["icl", *recalibrated] if options.context is None else ["context"])]
        compared += LOGISTIC if task.labels else ()
        if entry not in ("sft", {"method": "sft", "label_source": "ground-truth"}):
            compared.append("sft")
    settings = {
        "name": name_of(options.out),
        "models": [model_of(options)],
        "tasks": [{"train": task.name, **_rows_said(options)}],
        "n": [n],
        "sets": 1,
        "first_seed": options.seed,
        "draw": options.draw,
        # there is no other N, and ia2 evaluate --icl draws the same demonstrations
        "nested": False,
        "methods": [*compared, entry],
        "adapters": [{"kind": adapter.kind, **adapter.changed_sizes}],
        "learning_rates": list(options.lr) or default_learning_rates(adapter, method, task, progress),
        "betas": list(options.beta),
        "rows": options.limit,
        "training": {name: getattr(options, name) for name in ("epochs", "batch_size", "patience")},
        "memory": options.memory,
        "chat": options.chat,
        "context": options.context,
        "order": options.order,
        "device": options.device,
        "dtype": options.dtype,
        "load": options.load,
        "attention": options.attention,
        "teacher_dtype": options.teacher_dtype,
        "align": options.align,
        "label_scoring": options.label_scoring,
        "ece": options.ece,
        "select": "dev",
        "measure": "chosen",
    }
    return _checked(Experiment, settings)


def _checked(kind: type[Checked], settings: dict[str, Any]) -> Checked:
    """Validate settings; raise the first problem as the error of its field, which has a flag."""
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise field_error(error.errors(include_url=False)[0]) from error


def _rows_said(options: Source) -> dict[str, Any]:
    """Return the options on rows that were given, by their names in a study."""
    return {name: value for name in ROWS_OPTIONS if (value := getattr(options, name, None)) is not None}


def load_task_of(options: Source) -> Task:
    """Load the task of a command's options, from a file or by name.

    Raises:
        InputError: the task can't be loaded, or an option on its rows is invalid.
    """
    rows = _checked(Rows, _rows_said(options))
    # with the paths as typed, for errors
    named = {name: getattr(options, name, None) for name in ("data", "eval_data")}
    return load_rows(rows.model_copy(update=named), options.task, options.data_dir)


def name_of(out: Path) -> str:
    """Return a study's name, made from its output folder."""
    return re.sub(r"[^a-z0-9._-]+", "-", out.resolve().name.lower()).strip("-._") or "adaptation"


def model_of(options: Source) -> str:
    """Return the model's name, made independent of the working directory."""
    if kind_of(options.model) in ("folder", "gguf"):
        return str(path_of(options.model).absolute())
    return options.model


def method_of_options(options: Adapt) -> tuple[Any, Method]:
    """Return the method named, or described in a file, as an entry of a study and as a `Method`."""
    path = Path(options.method)
    entry: Any = options.method
    if path.suffix in (".yaml", ".yml"):
        entry = read_description(path)
        method = method_of(entry, f"--method {path}")
    else:
        method = method_named(options.method)
    if options.label_source is None:
        return entry, method
    return {"method": entry, "label_source": options.label_source}, method.fine_tuned_on(options.label_source)


def check_demonstrations(task: Task, count: int) -> None:
    """Refuse more demonstrations than allow to draw a set and still have a row to evaluate.

    Raises:
        InputError: there are too few rows.
    """
    # as in adapt, a set also has half as many dev rows
    rows = len(task.pool) - (not task.evaluation)
    most = (2 * rows + 1) // 3
    if count > most:
        hint = f"Use --icl {most} or fewer" if most > 1 else "Add rows"
        raise InputError(
            f"--icl {count}: {task.name} has only {len(task.pool)} rows for demonstrations and evaluation. {hint}."
        )


def default_n(options: Source, task: Task) -> int:
    """Return the default N: half of a file's rows, at most 128 and at least 2; 16 for a named task."""
    if options.data is None:
        return TASK_TRAINING_ROWS
    return max(2, min(MOST_TRAINING_ROWS, len(task.pool) // 2))


def default_learning_rates(adapter: AdapterKind, method: Method, task: Task, progress: Progress) -> list[float]:
    """Return the default learning rates: for free text only the middle one, with a message.

    An empty list stands for the adapter's three.
    """
    rates = adapter.learning_rates
    if task.response_kind == "label" or not method.has_learning_rate:
        return []
    every = " ".join(f"{rate:.0e}".replace("e-0", "e-") for rate in rates)
    progress.say(f"Trying one learning rate, {rates[1]:g}, as steps on free text take long; --lr {every} tries three.")
    return [rates[1]]
