"""A small study for tests, and all that a study's folder holds."""

import json
from pathlib import Path
from typing import Any

from ia2.experiments.schema import Experiment
from ia2.experiments.store import Store


def study(**changes: Any) -> Experiment:
    """Two units of sixteen records, on the tiny model."""
    return Experiment.model_validate(
        {
            "name": "small",
            "models": ["tiny"],
            "tasks": [{"train": "reviews"}],
            "n": [4],
            "sets": 2,
            "methods": ["zero-shot", "icl", "sft", "ia2", "ia2-sft"],
            "learning_rates": [1e-3, 1e-2],
            "rows": 6,
            "asim_rows": 4,
            "training": {"epochs": 2},
            "label_scoring": "whole",
            **changes,
        }
    )


def opened(folder: Path, experiment: Experiment, limit: int | None = None) -> Store:
    store = Store(folder)
    store.open(experiment, limit)
    return store


def content(folder: Path) -> dict[str, Any]:
    """Every file of a study's folder, records without what may differ between two runs."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        # half a plan may be another process's, and is left
        if path.is_dir() or name.startswith("locks/") or path.match(".partial-*-plan.json"):
            continue
        if name.startswith("records/"):
            record = json.loads(path.read_text())
            record.pop("seconds")
            for stage in record["stages"]:
                stage.pop("seconds")
            found[name] = record
        else:
            found[name] = path.read_bytes()
    return found


def study_of_two_tasks(**changes: Any) -> Experiment:
    """A study that is planned and never run: two models, two tasks and two N, three sets."""
    return Experiment.model_validate(
        {
            "name": "small",
            "models": ["a/b", "c"],
            "tasks": [{"train": "reviews"}, {"train": "sst2", "evaluate": ["sst2", "finsen"]}],
            "n": [8, 4],
            "sets": 3,
            "methods": ["zero-shot", "icl", "sft", "ia2", "ia2-sft"],
            **changes,
        }
    )
