"""`ia2 cache`: listing of the cache folder by kind, and removal of entries that haven't been used for long."""

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from ia2.cache import cache_folder, shown_size, size_of
from ia2.cli.console import stdout
from ia2.cli.options import Cache
from ia2.locks import is_in_use

KINDS: Mapping[str, str] = {
    "models": "downloaded and dequantised models",
    "targets": "teacher targets",
    "stages": "trained adapter stages",
}
"""Subfolders of the cache, with their contents; nothing else in the cache folder is listed or removed."""
DAY = 24 * 60 * 60
"""Seconds per day."""
UNUSED_DAYS = 30
"""Default number of days without use after which an entry is removed."""


@dataclass(frozen=True)
class Entry:
    """A cache entry: a model, the targets of a set, or the stages of a study."""

    path: Path
    kind: str
    size: int
    """Size in bytes."""
    used: float
    """Time of the last write or read of one of its files, in seconds since 1970."""


def entries(folder: Path) -> Iterator[Entry]:
    """Yield all entries of a cache folder, including leftovers of killed processes."""
    for kind in KINDS:
        for path in sorted((folder / kind).glob("*")):
            with suppress(FileNotFoundError):  # another process removed it
                yield Entry(path, kind, size_of(path), _last_used(path))


def prune(folder: Path, days: int, now: float) -> list[Entry]:
    """Remove entries that are neither in use nor used for `days` days; links are removed, but not their targets.

    An entry in use stays whatever the clock says: it may have been wrong when the entry was written.

    Returns:
        The removed entries.
    """
    old = [entry for entry in entries(folder) if entry.used <= now - days * DAY]
    for entry in old:
        if entry.path.is_dir() and not entry.path.is_symlink():
            if not is_in_use(entry.path):
                shutil.rmtree(entry.path, ignore_errors=True)
        else:
            entry.path.unlink(missing_ok=True)
    return [entry for entry in old if not entry.path.exists()]


def run_cache(options: Cache) -> None:
    """List the cache, print its path, or prune it."""
    folder = cache_folder()
    if options.action == "where":
        _say(str(folder))
    elif options.action == "prune":
        days = UNUSED_DAYS if options.days is None else options.days
        gone = prune(folder, days, time.time())
        left = sum(entry.size for entry in entries(folder))
        _say(
            f"{folder}: removed {len(gone)} {'entry' if len(gone) == 1 else 'entries'} "
            f"({shown_size(sum(entry.size for entry in gone))}), {shown_size(left)} left."
        )
    else:
        _list(folder)


def _list(folder: Path) -> None:
    every = list(entries(folder))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("kind", "entries", "size", "last used", "what it is"):
        table.add_column(heading, justify="right" if heading in ("entries", "size") else "left")
    for kind, description in KINDS.items():
        of_kind = [entry for entry in every if entry.kind == kind]
        used = max((time.strftime("%Y-%m-%d", time.localtime(entry.used)) for entry in of_kind), default="–")
        size = shown_size(sum(entry.size for entry in of_kind))
        table.add_row(kind, str(len(of_kind)), size, used, description)
    _say(f"{folder}: {shown_size(sum(entry.size for entry in every))}")
    stdout().print(table)


def _last_used(path: Path) -> float:
    """Return the time of the last write, or read if the system records it, of any file in a path."""
    times: list[float] = []
    for entry in (path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())):
        with suppress(FileNotFoundError):
            status = entry.lstat()
            # listing a folder changes its access time
            times.append(status.st_mtime if entry.is_dir() else max(status.st_mtime, status.st_atime))
    if not times:
        raise FileNotFoundError(path)
    return max(times)


def _say(text: str) -> None:
    stdout().print(text, markup=False, soft_wrap=True)
