"""Computation of a study on one machine, unit by unit: finished units are skipped, failures recorded."""

import shutil
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ia2.experiments.loading import load_for
from ia2.experiments.plan import Unit, units
from ia2.experiments.schema import Experiment
from ia2.experiments.shared_work import SharedWork
from ia2.experiments.store import RECORDS, Store
from ia2.experiments.trackers import UNTRACKED, Tracking
from ia2.experiments.unit import compute
from ia2.models.load import LanguageModel
from ia2.progress import SILENT, Progress
from ia2.records import load_records


@dataclass(frozen=True)
class Outcome:
    """Result of a run: how many units were computed, and which failed."""

    done: int
    """Number of units that this run computed."""
    before: int
    """Number of units that were done before this run."""
    elsewhere: int
    """Number of units that another process was computing."""
    failed: tuple[str, ...]
    """Ids of the units that failed."""


Load = Callable[[str], LanguageModel]


def run(
    experiment: Experiment,
    store: Store,
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    load: Load | None = None,
    progress: Progress = SILENT,
    tracking: Tracking = UNTRACKED,
    work: SharedWork | None = None,
    single: bool = False,
) -> Outcome:
    """Compute every missing unit, one after another.

    Args:
        experiment: the study.
        store: the study's folder, opened for the study.
        data_dir: a folder of benchmark files instead of the hub.
        limit: maximum evaluation rows per task; a smaller maximum in the study takes precedence.
        load: loads a model by name; by default with the study's settings and the defaults of this machine.
        progress: receives messages about units that are done.
        tracking: shown the records of every finished unit.
        work: cache shared with other studies, read and extended; by default only this run's units share one.
        single: whether the study is a single unit: its error then ends the run and leaves none of its files, and unit
            counts aren't reported.

    Raises:
        InputError: a record can't be read, or can't be shown in the tracker.
        Exception: the error of the unit, if `single`.
    """
    ledger = Ledger(experiment, store, progress, tracking)
    experiment = ledger.experiment
    models = Models(load or partial(load_for, experiment, progress=progress))

    work = SharedWork() if work is None else work

    def compute_into(unit: Unit, folder: Path) -> None:
        model = models[unit.model]
        compute(experiment, unit, model, folder, data_dir=data_dir, limit=limit, progress=progress, work=work)

    for number, unit in enumerate(ledger.missing, start=1):
        with ledger.claimed(unit) as claimed:
            if claimed and single:
                ledger.take_or_raise(unit, compute_into)
            elif claimed:
                progress.say(f"unit {number} of {len(ledger.missing)}: {unit.id}")
                ledger.take(unit, compute_into)
        if not single:
            ledger.tell()
    return ledger.outcome()


class Models:
    """Holds the model loaded last; units of one model are consecutive."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._name: str | None = None
        self._model: LanguageModel | None = None

    def __getitem__(self, name: str) -> LanguageModel:
        """Return the model of this name; any other is released before it is loaded."""
        if self._model is None or self._name != name:
            self._model = None
            self._model, self._name = self._load(name), name
        return self._model


class Ledger:
    """Tracks a run's units, wherever they are computed: each is stored, or recorded as failed."""

    def __init__(
        self, experiment: Experiment, store: Store, progress: Progress, tracking: Tracking = UNTRACKED
    ) -> None:
        self.experiment = experiment
        """The study; if it sets no dtype, with the dtype of the existing records."""
        all_units = units(experiment)
        self.missing = [unit for unit in all_units if not store.is_done(unit)]
        """Units that this run has to compute."""
        self._store, self._progress, self._tracking = store, progress, tracking
        self._before = len(all_units) - len(self.missing)
        self._done, self._elsewhere = 0, 0
        self._failed: list[str] = []
        self._begun = time.monotonic()
        if self.missing and experiment.dtype is None and (dtype := store.dtype()) is not None:
            # the default depends on the machine: float32, or bfloat16 with a GPU
            self.experiment = experiment.model_copy(update={"dtype": dtype})
            progress.say(f"The study's records were computed in {dtype}, so the rest is too.")
        for unit in all_units:
            # left by a process killed between storing its unit and cleaning up; claiming removes it
            if store.is_done(unit) and store.unfinished(unit).exists():
                with store.claimed(unit):
                    pass

    @contextmanager
    def claimed(self, unit: Unit) -> Iterator[bool]:
        """Lock a unit; yields False, and counts the unit as elsewhere, if another process has it."""
        with self._store.claimed(unit) as claimed:
            free = claimed and not self._store.is_done(unit)
            self._elsewhere += not free
            yield free

    def take(self, unit: Unit, work: Callable[[Unit, Path], None]) -> None:
        """Store the files that `work` writes into the folder it is given; if it raises, record the failure.

        Raises:
            InputError: the unit's records can't be shown in the tracker. They are stored nevertheless.
        """
        try:
            self._keep(unit, work)
        except Exception as error:
            self.fail(unit, error_text(error))
        else:
            self._show(unit)

    def take_or_raise(self, unit: Unit, work: Callable[[Unit, Path], None]) -> None:
        """Do the same as `take`, but let errors and interrupts through.

        Raises:
            InputError: as `take`.
            BaseException: whatever `work` raised.
        """
        self._keep(unit, work)
        self._show(unit)

    def _keep(self, unit: Unit, work: Callable[[Unit, Path], None]) -> None:
        folder = self._store.unfinished(unit)
        try:
            work(unit, folder)
            self._store.keep(unit, folder)
            self._done += 1
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _show(self, unit: Unit) -> None:
        for record in load_records(self._store.folder, unit.id):
            self._tracking.show(str(record.file).removeprefix(f"{RECORDS}/").removesuffix(".json"), record)

    def fail(self, unit: Unit, error: str) -> None:
        """Record that a unit failed.

        Args:
            unit: the unit.
            error: text of the error; its last line is shown to the user.
        """
        self._store.note_failure(unit, error)
        self._failed.append(unit.id)
        self._progress.say(f"{unit.id} failed: {error.splitlines()[-1]}")

    def tell(self, running: int = 0) -> None:
        """Report the number of finished units and the time left at the current pace, counting other processes' units.

        Args:
            running: number of units being computed now.
        """
        done = sum(map(self._store.is_done, self.missing))
        left = len(self.missing) - done - len(self._failed)
        counts = [f"{done} of {len(self.missing)} units done"]
        counts += [f"{running} running"] * bool(running)
        counts += [f"{len(self._failed)} failed"] * bool(self._failed)
        if left and (ended := done + len(self._failed)):
            minutes = (time.monotonic() - self._begun) / ended * left / 60
            counts.append(f"about {minutes:.0f} min left" if minutes >= 1 else "less than a minute left")
        self._progress.say(", ".join(counts))

    def outcome(self) -> Outcome:
        """Return the result of the run."""
        return Outcome(self._done, self._before, self._elsewhere, tuple(self._failed))


def error_text(error: BaseException) -> str:
    """Return an error with its traceback, as recorded."""
    return "".join(traceback.format_exception(error)).rstrip()
