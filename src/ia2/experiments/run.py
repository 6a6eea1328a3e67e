"""Doing what a study plans: unit after unit, what is done already left alone, what fails written down."""

import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ia2.experiments.config import Experiment
from ia2.experiments.plan import Unit, units
from ia2.experiments.store import Store
from ia2.experiments.unit import compute
from ia2.models.load import LanguageModel, load_model
from ia2.progress import SILENT, Progress


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    done: int
    """Units that it computed."""
    before: int
    """Units that were there already."""
    elsewhere: int
    """Units that another process was computing."""
    failed: tuple[str, ...]
    """Units that failed."""


Load = Callable[[str], LanguageModel]


def run(
    experiment: Experiment,
    store: Store,
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    load: Load | None = None,
    progress: Progress = SILENT,
) -> Outcome:
    """Compute every unit that is missing, one after another.

    Args:
        experiment: the study.
        store: its folder, opened for it.
        data_dir: a folder of benchmark files instead of the hub.
        limit: the most evaluation rows, where the study has no smaller number.
        load: how a model is loaded by its name; by default as the study's dtype and this machine want it.
        progress: told which units are done.
    """
    every = units(experiment)
    missing = [unit for unit in every if not store.is_done(unit)]
    models = Models(load or (lambda name: load_model(name, dtype=experiment.dtype, progress=progress)))
    done, elsewhere, failed = 0, 0, []
    for number, unit in enumerate(missing, start=1):
        with store.claimed(unit) as mine:
            if not mine or store.is_done(unit):
                elsewhere += 1
                continue
            progress.say(f"unit {number} of {len(missing)}: {unit.id}")
            error = compute_into(store, experiment, unit, models, data_dir, limit, progress)
        if error is None:
            done += 1
        else:
            failed.append(unit.id)
            progress.say(f"{unit.id} failed: {error.splitlines()[-1]}")
    return Outcome(done, len(every) - len(missing), elsewhere, tuple(failed))


class Models:
    """The model that was loaded last: units of one model follow each other."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._name: str | None = None
        self._model: LanguageModel | None = None

    def __getitem__(self, name: str) -> LanguageModel:
        """The model of this name; another one is let go first."""
        if self._model is None or self._name != name:
            self._model = None
            self._model, self._name = self._load(name), name
        return self._model


def compute_into(
    store: Store,
    experiment: Experiment,
    unit: Unit,
    models: Models,
    data_dir: Path | None,
    limit: int | None,
    progress: Progress,
) -> str | None:
    """Compute a unit and take it into the study's folder; an error is written down and given back."""
    folder = store.unfinished(unit)
    try:
        compute(experiment, unit, models[unit.model], folder, data_dir=data_dir, limit=limit, progress=progress)
        store.keep(unit, folder)
    except Exception as error:
        reason = "".join(traceback.format_exception(error))
        store.note_failure(unit, reason.rstrip())
        return f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return None
