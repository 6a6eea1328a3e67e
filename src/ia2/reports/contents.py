"""What reports read of a study: the folder that `ia2 run` wrote, or the compressed file that its records are kept in.

The file has a JSON object a line: the plan, then each record, each overlap of two adapters' subspaces, and each unit
that failed. Its bytes depend on these alone.
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
"""The compressed file, in a folder of its own or beside a report."""


@dataclass(frozen=True)
class StudyContents:
    """A study and what was computed of it."""

    plan: Mapping[str, Any]
    """As the study's folder has it."""
    experiment: Experiment
    records: tuple[Record, ...]
    """In the order of their files' names."""
    done: frozenset[str]
    """The ids of units whose records are there."""
    failures: Mapping[str, str]
    """The error of each unit that failed, by its id."""
    overlaps: Mapping[Paths, KnownOverlap]
    """Of adapters' subspaces, as far as they were computed before."""
    in_files: bool
    """Whether each record is a file of its own, which a page can lead to."""

    @classmethod
    def of(cls, folder: Path) -> "StudyContents":
        """Read a study's folder, or one with the compressed file.

        Raises:
            InputError: neither is there, or a part can't be read.
        """
        if not (folder / PLAN_FILE).exists() and (folder / KEPT).is_file():
            return kept_in(folder / KEPT)
        plan, store = read_plan(folder), Store(folder)
        experiment = plan_of(plan, folder / PLAN_FILE)[0]
        done = frozenset(unit.id for unit in units(experiment) if store.is_done(unit))
        records, overlaps = tuple(load_records(folder)), read_overlaps(folder)
        return cls(plan, experiment, records, done, store.failures(), overlaps, in_files=True)

    def with_overlaps(self, overlaps: Mapping[Paths, KnownOverlap]) -> "StudyContents":
        """The same with overlaps that were computed of its adapters."""
        return replace(self, overlaps={**self.overlaps, **overlaps})

    def keep(self, path: Path) -> None:
        """Write everything into one compressed file, whole or not at all."""
        lines: list[dict[str, Any]] = [{"plan": dict(self.plan)}]
        lines += [{"file": record.file, "record": record.as_json()} for record in self.records]
        lines += [{"overlap": overlap} for overlap in overlaps_as_json(self.overlaps)]
        lines += [{"failed": unit, "error": error} for unit, error in sorted(self.failures.items())]
        text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
        packed = io.BytesIO()
        # a name or a time in the head would make other bytes of the same records
        with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0) as file:
            file.write(text.encode())
        with written_whole(path) as partial:
            partial.write_bytes(packed.getvalue())


def kept_in(path: Path) -> StudyContents:
    """What a compressed file holds.

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
    """A record, if neither it nor a file that it names lies outside the compressed file's folder. Raises InputError."""
    folder = path.parent
    named = [folder / str(record.file)]
    named += [record.rows(folder)] if record.predictions is not None else []
    named += [folder / record.adapter.path] if record.adapter is not None and record.adapter.path is not None else []
    for file in named:
        if not file.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: a record names {file}, which lies outside {folder} and is not read.")
    return record


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a compressed file with the numbers of their lines. Raises InputError."""
    unpacked = 0
    try:
        with gzip.open(path) as file:
            # a line at a time, since a small file may unpack to more than fits in memory
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
