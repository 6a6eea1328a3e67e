"""Locks between processes on one machine, which end with the process that holds them."""

import errno
import fcntl
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ia2.cache import check_writable
from ia2.errors import InputError


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait until no other process on this machine has locked this folder, and lock it; it is created if needed.

    The lock is on the folder itself, since a lock file would make an empty folder look used. It ends with the process.
    A path that can't be a folder isn't locked: writing to it fails with an error of its own.

    Raises:
        InputError: the folder can't be created.
    """
    if folder.exists() and not folder.is_dir():
        yield
        return
    check_writable(folder)
    while True:
        _make(folder)
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not _stands_at(descriptor, folder):
                continue
            yield
            return
        finally:
            os.close(descriptor)


@contextmanager
def held(path: Path) -> Iterator[bool]:
    """Hold a lock file; yields False if another process on this machine holds it.

    The file is created if needed, with its parent folders, and is left in place. The lock ends with the process.

    Raises:
        InputError: its folder can't be created.
    """
    while True:
        _make(path.parent)
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            if not _stands_at(file.fileno(), path):
                continue
            yield True
            return


def mark_in_use(folder: Path, user: object) -> None:
    """Keep a cache folder from being pruned as long as an object lives, on file systems with locks."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        weakref.finalize(user, os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_SH)


def is_in_use(folder: Path) -> bool:
    """Return whether a process on this machine has marked a folder as in use."""
    with suppress(FileNotFoundError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:  # a file system without locks
            return False
        finally:
            os.close(descriptor)
    return False


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        # some file systems claim to be writable but accept nothing, such as /proc
        if error.errno == errno.ENOSPC:
            raise
        raise InputError(f"{folder}: this folder can't be made ({error.strerror}). Name another place.") from error


def _stands_at(descriptor: int, path: Path) -> bool:
    """Return whether an open file is still the one at a path: the previous holder of the lock may have deleted it."""
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())
