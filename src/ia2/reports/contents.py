"""Reads a study for reports, from the folder of `ia2 run` or from the compressed file of its records.

The file has one JSON object per line: first the plan, then each record, each subspace overlap of two adapters, and each
failed unit. Its bytes depend only on these.
"""

import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ia2.cache import written_whole
from ia2.errors import InputError
from ia2.experiments.plan import units
from ia2.experiments.plan_file import PLAN_FILE, plan_of, read_plan
from ia2.experiments.schema import Experiment
from ia2.experiments.store import Store
from ia2.records import MOST_BYTES, Record, load_records
from ia2.reports.known_overlaps import (
    KnownOverlap,
    Paths,
    overlaps_as_json,
    overlaps_from_json,
    read_overlaps,
)
from ia2.unpacking import check_unpacked

KEPT = "records.jsonl.gz"
"""Name of the compressed file, in its own folder or next to a report."""


@dataclass(frozen=True)
class StudyContents:
    """A study's plan and results."""

    plan: Mapping[str, Any]
    """The plan, as in the study's folder."""
    experiment: Experiment
    records: tuple[Record, ...]
    """The records, sorted by file name."""
    done: frozenset[str]
    """Ids of the units that have records."""
    failures: Mapping[str, str]
    """Error of each failed unit, by unit id."""
    overlaps: Mapping[Paths, KnownOverlap]
    """Subspace overlaps of adapters that were computed before."""
    in_files: bool
    """Whether each record is a file of its own that a page can link to."""

    @classmethod
    def of(cls, folder: Path) -> "StudyContents":
        """Read a study's folder, or a folder with the compressed file.

        Raises:
            InputError: neither exists, or a part can't be read.
        """
        if not (folder / PLAN_FILE).exists() and (folder / KEPT).is_file():
            return kept_in(folder / KEPT)
        plan, store = read_plan(folder), Store(folder)
        experiment = plan_of(plan, folder / PLAN_FILE)[0]
        done = frozenset(unit.id for unit in units(experiment) if store.is_done(unit))
        records, overlaps = tuple(load_records(folder)), read_overlaps(folder)
        return cls(plan, experiment, records, done, store.failures(), overlaps, in_files=True)

    def with_overlaps(self, overlaps: Mapping[Paths, KnownOverlap]) -> "StudyContents":
        """Return a copy with overlaps that were computed for its adapters."""
        return replace(self, overlaps={**self.overlaps, **overlaps})

    def keep(self, path: Path) -> None:
        """Write everything to one compressed file, atomically."""
        lines: list[dict[str, Any]] = [{"plan": dict(self.plan)}]
        lines += [{"file": record.file, "record": record.as_json()} for record in self.records]
        lines += [{"overlap": overlap} for overlap in overlaps_as_json(self.overlaps)]
        lines += [{"failed": unit, "error": error} for unit, error in sorted(self.failures.items())]
        text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
        packed = io.BytesIO()
        # a name or time in the header would make the bytes differ between runs
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
            file.write(text.encode())
        with written_whole(path) as partial:
            partial.write_bytes(packed.getvalue())


def kept_in(path: Path) -> StudyContents:
    """Read a compressed file.

    Args:
        path: the file.

    Raises:
        InputError: it can't be read, or a record names files outside its folder.
    """
    plans: list[Any] = []
    records: list[Record] = []
    overlaps: list[Any] = []
    failures: dict[str, str] = {}
    for number, line in _lines(path):
        if "plan" in line:
            plans.append(line["plan"])
        elif "record" in line:
            records.append(_inside(Record.of(line["record"], path, str(line.get("file"))), path))
        elif "overlap" in line:
            overlaps.append(line["overlap"])
        elif "failed" in line:
            failures[str(line["failed"])] = str(line.get("error"))
        else:
            raise _damaged(path, f"line {number} is neither a plan nor a record")
    if len(plans) != 1:
        raise _damaged(path, f"it holds {len(plans)} plans")
    try:
        known = overlaps_from_json(overlaps)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(path, f"an overlap: {type(error).__name__}: {error}") from error
    done = frozenset(str(record.options.unit) for record in records)
    experiment = plan_of(plans[0], path)[0]
    return StudyContents(plans[0], experiment, tuple(records), done, failures, known, in_files=False)


def _inside(record: Record, path: Path) -> Record:
    """Return the record; refuse it if it or a file that it names is outside the folder. Raises InputError."""
    folder = path.parent
    named = [folder / str(record.file)]
    named += [record.rows(folder)] if record.predictions is not None else []
    named += [folder / record.adapter.path] if record.adapter is not None and record.adapter.path is not None else []
    for file in named:
        if not file.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: a record names {file}, which lies outside {folder} and is not read.")
    return record


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the JSON objects of a compressed file with their line numbers. Raises InputError."""
    unpacked = 0
    try:
        with gzip.open(path) as file:
            # read line by line, since a small file may unpack to more than fits in memory
            for number, line in enumerate(iter(lambda: file.readline(MOST_BYTES + 1), b""), start=1):
                unpacked += len(line)
                check_unpacked(unpacked, path.stat().st_size)
                if len(line) > MOST_BYTES:
                    raise ValueError(f"line {number} is longer than any record")
                value = json.loads(line)
                if not isinstance(value, dict):
                    raise ValueError(f"line {number} is not a JSON object")
                yield number, value
    except (OSError, EOFError, ValueError, RecursionError, zlib.error) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path}: these records can't be read ({why}). Restore this file, or name another folder.")
