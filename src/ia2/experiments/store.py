"""A study's folder: records of whole units, their predictions and adapters, the plan, and what failed."""

import fcntl
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ia2.cache import alone_in, check_links, check_writable, folder_written_whole, written_whole
from ia2.errors import ChangedFieldsError, InputError
from ia2.experiments.plan import Unit, units
from ia2.experiments.plan_file import PLAN_FILE, load_plan
from ia2.experiments.rows import file_digests, hub_commits
from ia2.experiments.schema import Experiment
from ia2.records import Record, record_files

RECORDS, PREDICTIONS, ADAPTERS, FAILURES, UNITS = "records", "predictions", "adapters", "failures", "units"
LOCKS, UNFINISHED = "locks", "unfinished"


class Store:
    """The folder of a study. A unit is done when the folder of its records is there, which appears in one step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, experiment: Experiment, limit: int | None = None, *, growing: bool = True) -> None:
        """Begin or go on.

        Args:
            experiment: the study.
            limit: the most evaluation rows, where the study has no smaller number.
            growing: as in `check`.

        Raises:
            InputError: as in `check`.
        """
        plan = {"limit": limit, "experiment": experiment.model_dump(mode="json")}
        # of two processes that begin with different settings the second finds the first one's plan
        with alone_in(self.folder):
            versions = self._checked(experiment, limit, growing=growing)
            _write(self.folder / PLAN_FILE, plan | versions)

    def check(self, experiment: Experiment, limit: int | None = None, *, growing: bool = True) -> None:
        """Refuse a study that this folder can't take, before anything is computed.

        Args:
            experiment: the study.
            limit: the most evaluation rows, where the study has no smaller number.
            growing: whether models, tasks, N and sets may be others than before; else the study must be the same.

        Raises:
            InputError: the folder holds something else, a damaged plan, or records of a study with other settings,
                files, commits or units; it can't be written to; the hub is to be asked for a commit and can't be; or
                two of the study's models have names that make the same folder's.
        """
        self._checked(experiment, limit, growing=growing)

    def _checked(self, experiment: Experiment, limit: int | None, *, growing: bool) -> dict[str, dict[str, str]]:
        """The same; gives what the plan is to say of the files and of the hub's datasets."""
        asked = units(experiment)
        plan = self.folder / PLAN_FILE
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: this is a file, but a folder is needed. Name another one.")
        # another process may be writing the plan at this moment, or was killed at it
        held = set(self.folder.iterdir()) - _partials(plan) if self.folder.is_dir() else set()
        if held and not plan.exists():
            raise InputError(f"{self.folder}: this folder holds something else. Name another one with --out.")
        check_writable(self.folder)
        check_links(self.folder)
        digests, wanted = file_digests(experiment.files), set(map(str, experiment.files))
        # what is done can be shown without the hub
        commits = {} if all(map(self.is_done, asked)) else hub_commits(experiment.files)
        if plan.exists():
            earlier, earlier_limit, versions = load_plan(self.folder)
            if experiment.nested and not earlier.nested:
                raise InputError(
                    f"{self.folder}: in this folder rows were drawn separately for each N, as in all studies before "
                    "nested sets. Set nested: false to continue it, or name another folder with --out."
                )
            for path, digest in digests.items():
                if versions["files"].get(path, digest) != digest:
                    raise InputError(
                        f"{path}: this file has changed since {self.folder} was started with it. Restore it, or name "
                        "another folder with --out."
                    )
            for name, commit in commits.items():
                if (before := versions["commits"].get(name, commit)) != commit:
                    raise InputError(
                        f"{name}: it is now at commit {commit[:8]} on the hub, but {self.folder} was started with "
                        f"{before[:8]}. Name another folder with --out."
                    )
            commits = {name: commit for name, commit in versions["commits"].items() if name in wanted} | commits
            settings_before, settings_now = (
                study.settings if growing else study.model_dump(mode="json", exclude={"name", "description"})
                for study in (earlier, experiment)
            )
            settings_before, settings_now = (
                settings_before | {"--limit": earlier_limit},
                settings_now | {"--limit": limit},
            )
            if changed := _changed(settings_before, settings_now):
                allowed = "only models, tasks, N and sets may be added" if growing else "they can't be changed"
                raise ChangedFieldsError(
                    changed,
                    f"{self.folder}: this folder holds records of {earlier.name} with other settings ({{fields}}); "
                    f"{allowed}. Name another folder with --out.",
                )
            self._check_same_units(units(earlier), asked)
        return {"files": digests, "commits": commits}

    def is_done(self, unit: Unit) -> bool:
        """Whether all records of a unit are there."""
        return (self.folder / RECORDS / unit.id).is_dir()

    def dtype(self) -> str | None:
        """The dtype of the records that are there, told by the first one; None where there are none.

        Raises:
            InputError: that record can't be read.
        """
        file = next(iter(record_files(self.folder)), None)
        return None if file is None else Record.read(file).model.dtype

    def _check_same_units(self, earlier: Iterable[Unit], asked: Iterable[Unit]) -> None:
        """Refuse units that are others than before by the same name: done ones wouldn't be computed again."""
        planned = {unit.id: unit.as_record() for unit in earlier}
        for unit in asked:
            now = unit.as_record()
            before = self._computed(unit) or planned.get(unit.id, now)
            for part in now | before:
                if before.get(part) != now.get(part):
                    raise InputError(
                        f"{self.folder}: here {unit.id} has {part} {_listed(before.get(part))}, but now "
                        f"{_listed(now.get(part))} is requested. Name another folder with --out."
                    )

    def _computed(self, unit: Unit) -> dict[str, Any] | None:
        """What was computed under a unit's name; None where nothing was, or it wasn't written down."""
        file = self.folder / UNITS / f"{unit.id}.json"
        if not self.is_done(unit) or not file.exists():
            return None
        try:
            return dict(json.loads(file.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise InputError(
                f"{file}: this can't be read ({error}). Restore this file, or name another folder."
            ) from error

    @contextmanager
    def claimed(self, unit: Unit) -> Iterator[bool]:
        """Keep a unit to oneself for a while; gives False where another process on this machine is at it."""
        path = self.folder / LOCKS / unit.id
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            # the lock goes with the process, however it ends; what one that was killed has left is cleared away
            for part in (RECORDS, PREDICTIONS, ADAPTERS):
                for left in _partials(self.folder / part / unit.id):
                    shutil.rmtree(left, ignore_errors=True)
            for part in (UNITS, FAILURES):
                for left in _partials(self.folder / part / f"{unit.id}.json"):
                    left.unlink(missing_ok=True)
            shutil.rmtree(self.unfinished(unit), ignore_errors=True)
            yield True

    def unfinished(self, unit: Unit) -> Path:
        """The folder that a unit is computed in."""
        return self.folder / UNFINISHED / unit.id

    def keep(self, unit: Unit, computed: Path) -> None:
        """Take in what was computed of a unit, its records last: what the unit is stands before it counts as done.

        Args:
            unit: the unit.
            computed: a folder that holds what this one is to hold.
        """
        _write(self.folder / UNITS / f"{unit.id}.json", unit.as_record())
        for part in (PREDICTIONS, ADAPTERS, RECORDS):
            made = computed / part / unit.id
            if made.is_dir():
                with folder_written_whole(self.folder / part / unit.id, replace=True) as partial:
                    shutil.copytree(made, partial, dirs_exist_ok=True)
        (self.folder / FAILURES / f"{unit.id}.json").unlink(missing_ok=True)

    def abandon(self) -> None:
        """Take back a folder in which nothing was computed, so that another study may be begun there."""
        if any(self.folder.glob(f"{RECORDS}/*")):
            return
        for part in (LOCKS, UNFINISHED, UNITS, PREDICTIONS, ADAPTERS, RECORDS):
            shutil.rmtree(self.folder / part, ignore_errors=True)
        (self.folder / PLAN_FILE).unlink(missing_ok=True)
        with suppress(OSError):  # it holds something of the person's, or can't be taken away
            self.folder.rmdir()

    def tidy(self) -> None:
        """Take away what only units that are being computed need; a lock that another process waits for included.

        Whoever holds a lock looks again at what is done, so that no unit is computed twice.
        """
        shutil.rmtree(self.folder / LOCKS, ignore_errors=True)
        with suppress(OSError):  # another process may be at a unit
            (self.folder / UNFINISHED).rmdir()

    def note_failure(self, unit: Unit, error: str) -> None:
        """Write down that a unit failed, and why."""
        _write(self.folder / FAILURES / f"{unit.id}.json", {"unit": unit.as_record(), "error": error})

    def failures(self) -> dict[str, str]:
        """The error of each unit that failed, by its id; of a file that is damaged, that it is."""
        errors = {}
        # one that is being written is hidden
        for file in sorted((self.folder / FAILURES).glob("[!.]*.json")):
            try:
                errors[file.stem] = str(json.loads(file.read_text(encoding="utf-8"))["error"])
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                errors[file.stem] = f"{file}: this can't be read ({error}), so why the unit failed isn't known."
        return errors


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The names of what differs: of a mapping, or of the only task, those of its parts."""
    names = []
    for name in {**before, **now}:
        earlier, later = (
            value[0] if isinstance(value, list) and len(value) == 1 else value
            for value in (before.get(name), now.get(name))
        )
        if isinstance(earlier, dict) and isinstance(later, dict):
            names += _changed(earlier, later)
        elif earlier != later:
            names.append(name)
    return names


def _partials(path: Path) -> set[Path]:
    """What `ia2.cache` writes to before it is whole and becomes `path`."""
    return set(path.parent.glob(f".partial-{'[0-9a-f]' * 8}-{path.name}"))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _listed(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(value) if isinstance(value, list) else "none" if value is None else str(value)
