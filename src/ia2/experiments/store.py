"""A study's folder: its plan, the records, predictions and adapters of finished units, and failures."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ia2.cache import check_links, check_writable, folder_written_whole, written_whole
from ia2.errors import ChangedFieldsError, InputError
from ia2.experiments.plan import Unit, units
from ia2.experiments.plan_file import PLAN_FILE, load_plan
from ia2.experiments.rows import file_digests, hub_commits
from ia2.experiments.schema import Experiment
from ia2.locks import alone_in, held
from ia2.records import Record, record_files

RECORDS, PREDICTIONS, ADAPTERS, FAILURES, UNITS = "records", "predictions", "adapters", "failures", "units"
LOCKS, UNFINISHED = "locks", "unfinished"


class Store:
    """The folder of a study. A unit is done when the folder of its records exists; it appears atomically."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self, experiment: Experiment, limit: int | None = None, *, growing: bool = True) -> None:
        """Start or resume a study: check it and write its plan.

        Args:
            experiment: the study.
            limit: maximum evaluation rows per task; a smaller maximum in the study takes precedence.
            growing: as in `check`.

        Raises:
            InputError: as in `check`.
        """
        plan = {"limit": limit, "experiment": experiment.model_dump(mode="json")}
        # with the lock, the second of two processes that start with different settings sees the first one's plan
        with alone_in(self.folder):
            versions = self._checked(experiment, limit, growing=growing)
            _write(self.folder / PLAN_FILE, plan | versions)

    def check(self, experiment: Experiment, limit: int | None = None, *, growing: bool = True) -> None:
        """Refuse a study that can't be computed in this folder, before anything is computed.

        Args:
            experiment: the study.
            limit: maximum evaluation rows per task; a smaller maximum in the study takes precedence.
            growing: whether models, tasks, N and sets may differ from before; otherwise the study must be the same.

        Raises:
            InputError: the folder holds something else, a damaged plan, or records of a study with other settings,
                files, commits or units; it can't be written to; the hub doesn't report the commit of a dataset; or the
                names of two of the study's models give the same folder name.
        """
        self._checked(experiment, limit, growing=growing)

    def _checked(self, experiment: Experiment, limit: int | None, *, growing: bool) -> dict[str, dict[str, str]]:
        """Check a study as `check` does; return the file digests and dataset commits for the plan."""
        planned_units = units(experiment)
        plan = self.folder / PLAN_FILE
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"{self.folder}: this is a file, but a folder is needed. Name another one.")
        # partial plans don't count: another process is writing one, or was killed while writing it
        held = set(self.folder.iterdir()) - _partials(plan) if self.folder.is_dir() else set()
        if held and not plan.exists():
            raise InputError(f"{self.folder}: this folder holds something else. Name another one with --out.")
        check_writable(self.folder)
        check_links(self.folder)
        digests, wanted = file_digests(experiment.files), set(map(str, experiment.files))
        # a finished study can be shown offline
        commits = {} if all(map(self.is_done, planned_units)) else hub_commits(experiment.files)
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
            self._check_same_units(units(earlier), planned_units)
        return {"files": digests, "commits": commits}

    def is_done(self, unit: Unit) -> bool:
        """Return whether a unit is done."""
        return (self.folder / RECORDS / unit.id).is_dir()

    def dtype(self) -> str | None:
        """Return the dtype of the existing records, read from the first one; None if there are none.

        Raises:
            InputError: that record can't be read.
        """
        file = next(iter(record_files(self.folder)), None)
        return None if file is None else Record.read(file).model.dtype

    def _check_same_units(self, earlier: Iterable[Unit], planned_units: Iterable[Unit]) -> None:
        """Refuse units that differ from earlier ones of the same name, since done ones aren't computed again."""
        planned = {unit.id: unit.as_record() for unit in earlier}
        for unit in planned_units:
            now = unit.as_record()
            before = self._computed(unit) or planned.get(unit.id, now)
            for part in now | before:
                if before.get(part) != now.get(part):
                    raise InputError(
                        f"{self.folder}: here {unit.id} has {part} {_listed(before.get(part))}, but now "
                        f"{_listed(now.get(part))} is requested. Name another folder with --out."
                    )

    def _computed(self, unit: Unit) -> dict[str, Any] | None:
        """Return what was computed under a unit's name; None if it isn't done, or the folder doesn't say."""
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
        """Lock a unit; yields False if another process on this machine has locked it."""
        with held(self.folder / LOCKS / unit.id) as is_ours:
            if is_ours:
                # a lock ends with its process, so any partial files were left by a killed one
                self._clear_away(unit)
            yield is_ours

    def _clear_away(self, unit: Unit) -> None:
        """Delete what a killed process left of a unit."""
        for part in (RECORDS, PREDICTIONS, ADAPTERS):
            for partial_path in _partials(self.folder / part / unit.id):
                shutil.rmtree(partial_path, ignore_errors=True)
        for part in (UNITS, FAILURES):
            for partial_path in _partials(self.folder / part / f"{unit.id}.json"):
                partial_path.unlink(missing_ok=True)
        shutil.rmtree(self.unfinished(unit), ignore_errors=True)

    def unfinished(self, unit: Unit) -> Path:
        """Return the folder in which a unit is computed."""
        return self.folder / UNFINISHED / unit.id

    def keep(self, unit: Unit, computed: Path) -> None:
        """Copy a computed unit into the study's folder, records last, because they mark it as done.

        Args:
            unit: the unit.
            computed: folder in which it was computed, laid out as the study's.
        """
        _write(self.folder / UNITS / f"{unit.id}.json", unit.as_record())
        for part in (PREDICTIONS, ADAPTERS, RECORDS):
            source = computed / part / unit.id
            if source.is_dir():
                with folder_written_whole(self.folder / part / unit.id, replace=True) as partial:
                    shutil.copytree(source, partial, dirs_exist_ok=True)
        (self.folder / FAILURES / f"{unit.id}.json").unlink(missing_ok=True)

    def abandon(self) -> None:
        """Clear a folder in which no unit is done, so that another study can be started there."""
        if any(self.folder.glob(f"{RECORDS}/*")):
            return
        for part in (LOCKS, UNFINISHED, UNITS, PREDICTIONS, ADAPTERS, RECORDS):
            shutil.rmtree(self.folder / part, ignore_errors=True)
        (self.folder / PLAN_FILE).unlink(missing_ok=True)
        with suppress(OSError):  # it holds files of the user's, or can't be removed
            self.folder.rmdir()

    def tidy(self) -> None:
        """Remove the folders of locks and unfinished units, even if another process waits for a lock.

        A process that gets a lock checks again whether the unit is done, so no unit is computed twice.
        """
        shutil.rmtree(self.folder / LOCKS, ignore_errors=True)
        with suppress(OSError):  # not empty if another process is computing a unit
            (self.folder / UNFINISHED).rmdir()

    def note_failure(self, unit: Unit, error: str) -> None:
        """Record that a unit failed, and why."""
        _write(self.folder / FAILURES / f"{unit.id}.json", {"unit": unit.as_record(), "error": error})

    def failures(self) -> dict[str, str]:
        """Return the error of each failed unit, by id; for a damaged file, a message that says so."""
        errors = {}
        # partial files are hidden
        for file in sorted((self.folder / FAILURES).glob("[!.]*.json")):
            try:
                errors[file.stem] = str(json.loads(file.read_text(encoding="utf-8"))["error"])
            except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
                errors[file.stem] = f"{file}: this can't be read ({error}), so why the unit failed isn't known."
        return errors


def _changed(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the names of the settings that differ; for a mapping or a single task, the names of its parts."""
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
    """Return the partial files or folders that `ia2.cache` writes before it renames one to `path`."""
    return set(path.parent.glob(f".partial-{'[0-9a-f]' * 8}-{path.name}"))


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with written_whole(path) as partial:
        partial.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _listed(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return ", ".join(value) if isinstance(value, list) else "none" if value is None else str(value)
