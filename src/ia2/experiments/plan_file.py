"""The plan in a study's folder: the study, its limit on evaluation rows, and the versions of its input files."""

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ia2.errors import InputError
from ia2.experiments.schema import Experiment
from ia2.training.method_files import issue_sentence

PLAN_FILE = "plan.json"
Plan = tuple[Experiment, int | None, dict[str, dict[str, str]]]
"""The study, the maximum evaluation rows per task, and the digests of its files and commits of its datasets."""


def load_experiment_of(folder: Path) -> Experiment:
    """Return the study of a folder.

    Raises:
        InputError: its plan is missing or damaged.
    """
    return load_plan(folder)[0]


def load_plan(folder: Path) -> Plan:
    """Return the plan of a study's folder.

    Raises:
        InputError: it is missing or damaged.
    """
    plan = folder / PLAN_FILE
    return plan_of(read_plan(folder), plan)


def read_plan(folder: Path) -> Any:
    """Return the JSON of a study folder's plan.

    Raises:
        InputError: the plan is missing or isn't JSON.
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
    """Validate the JSON of a plan.

    Args:
        content: the JSON value.
        file: the file it was read from, for the error.

    Raises:
        InputError: the value isn't a valid plan.
    """
    try:
        if missing := [name for name in ("experiment", "limit") if name not in content]:
            raise ValueError(f"{missing[0]} is missing")
        versions = {part: dict(content.get(part, {})) for part in ("files", "commits")}
        # plans of the first versions lack this field
        settings = {"nested": False, **content["experiment"]}
        return Experiment.model_validate(settings), content["limit"], versions
    except (ValueError, TypeError, RecursionError) as error:
        problems = map(issue_sentence, error.errors()) if isinstance(error, ValidationError) else [str(error)]
        raise _damaged(file, "; ".join(text.rstrip(".") for text in problems)) from error


def _damaged(file: Path, why: str) -> InputError:
    return InputError(f"{file}: this plan can't be read ({why}). Restore this file, or name another folder.")
