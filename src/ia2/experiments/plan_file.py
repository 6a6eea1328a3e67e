"""The plan of a study's folder: which study it is, the most evaluation rows, and the files it was begun with."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ia2.errors import InputError
from ia2.experiments.schema import Experiment
from ia2.training.method_files import problem

PLAN_FILE = "plan.json"
Plan = tuple[Experiment, int | None, dict[str, dict[str, str]]]
"""The study, the most evaluation rows, and the digests of its files and commits of its datasets."""


def load_experiment_of(folder: Path) -> Experiment:
    """The study that a folder holds.

    Raises:
        InputError: its plan is missing or damaged.
    """
    return load_plan(folder)[0]


def load_plan(folder: Path) -> Plan:
    """The plan of a study's folder.

    Raises:
        InputError: it is missing or damaged.
    """
    plan = folder / PLAN_FILE
    return plan_of(read_plan(folder), plan)


def read_plan(folder: Path) -> Any:
    """What a study's folder has for a plan, as JSON says it.

    Raises:
        InputError: it is missing, or no JSON.
    """
    plan = folder / PLAN_FILE
    try:
        return json.loads(plan.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{folder}: no study here: {PLAN_FILE} is missing. Name a folder that ia2 run wrote."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(plan, str(error)) from error


def plan_of(content: Any, file: Path) -> Plan:
    """The plan that a JSON value says.

    Args:
        content: the value.
        file: where it was read, for the error.

    Raises:
        InputError: it says none.
    """
    try:
        if absent := [name for name in ("experiment", "limit") if name not in content]:
            raise ValueError(f"{absent[0]} is missing")
        versions = {part: dict(content.get(part, {})) for part in ("files", "commits")}
        # plans of the first versions don't say it
        settings = {"nested": False, **content["experiment"]}
        return Experiment.model_validate(settings), content["limit"], versions
    except (ValueError, TypeError, RecursionError) as error:
        problems = map(problem, error.errors()) if isinstance(error, ValidationError) else [str(error)]
        raise _damaged(file, "; ".join(text.rstrip(".") for text in problems)) from error


def _damaged(file: Path, why: str) -> InputError:
    return InputError(f"{file}: this plan can't be read ({why}). Restore this file, or name another folder.")
