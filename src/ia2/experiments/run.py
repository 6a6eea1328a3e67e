"""Doing what a study plans: unit after unit, what is done already left alone, what fails written down."""

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
    tracking: Tracking = UNTRACKED,
    work: SharedWork | None = None,
    single: bool = False,
) -> Outcome:
    """Compute every unit that is missing, one after another.

    Args:
        experiment: the study.
        store: its folder, opened for it.
        data_dir: a folder of benchmark files instead of the hub.
        limit: the most evaluation rows, where the study has no smaller number.
        load: how a model is loaded by its name; by default as the study's dtype and this machine want it.
        progress: told which units are done.
        tracking: shown the records of every unit that is done.
        work: what other studies have computed, and are to find of this one; by default units of this run share what is
            the same for them.
        single: whether the study is one unit that counts alone: then its error ends the run and nothing of it is left,
            and nothing is said of how many units are done.

    Raises:
        InputError: a record can't be read, or can't be shown in the tracker.
        Exception: where the study is a single unit, whatever ended it.
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


class Ledger:
    """What became of a run's units, wherever they are computed: each is taken into the store, or noted as failed."""

    def __init__(
        self, experiment: Experiment, store: Store, progress: Progress, tracking: Tracking = UNTRACKED
    ) -> None:
        self.experiment = experiment
        """The study; where it names no dtype, in that of the records that are there."""
        every = units(experiment)
        self.missing = [unit for unit in every if not store.is_done(unit)]
        """The units that this run is to compute."""
        self._store, self._progress, self._tracking = store, progress, tracking
        self._before = len(every) - len(self.missing)
        self._done, self._elsewhere = 0, 0
        self._failed: list[str] = []
        self._begun = time.monotonic()
        if self.missing and experiment.dtype is None and (dtype := store.dtype()) is not None:
            # a machine's own is float32 or bfloat16, by whether it has a GPU
            self.experiment = experiment.model_copy(update={"dtype": dtype})
            progress.say(f"The study's records were computed in {dtype}, so the rest is too.")
        for unit in every:
            # of a process that was killed when it had taken its unit in, and not yet cleared up
            if store.is_done(unit) and store.unfinished(unit).exists():
                with store.claimed(unit):
                    pass

    @contextmanager
    def claimed(self, unit: Unit) -> Iterator[bool]:
        """Keep a unit to oneself for a while; gives False, and counts it, where another process has it."""
        with self._store.claimed(unit) as claimed:
            free = claimed and not self._store.is_done(unit)
            self._elsewhere += not free
            yield free

    def take(self, unit: Unit, work: Callable[[Unit, Path], None]) -> None:
        """Take in the files that `work` puts into the folder it is given; an error of its is written down instead.

        Raises:
            InputError: the unit's records can't be shown in the tracker. They are taken in nevertheless.
        """
        try:
            self._keep(unit, work)
        except Exception as error:
            self.fail(unit, error_text(error))
        else:
            self._show(unit)

    def take_or_raise(self, unit: Unit, work: Callable[[Unit, Path], None]) -> None:
        """As `take`, but an error or a stop goes through.

        Raises:
            InputError: as `take`.
            BaseException: what ended the work.
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
        """Write down that a unit failed.

        Args:
            unit: the unit.
            error: what happened; its last line is said to the person.
        """
        self._store.note_failure(unit, error)
        self._failed.append(unit.id)
        self._progress.say(f"{unit.id} failed: {error.splitlines()[-1]}")

    def tell(self, running: int = 0) -> None:
        """Say how far the run is, and when it will be over if it goes on as it did, other processes' units counted.

        Args:
            running: units that are being computed now.
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
        """How the run ended."""
        return Outcome(self._done, self._before, self._elsewhere, tuple(self._failed))


def error_text(error: BaseException) -> str:
    """An error with its traceback, as it is written down."""
    return "".join(traceback.format_exception(error)).rstrip()
