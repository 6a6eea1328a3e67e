"""Where fetched and computed things are kept, and how anything is written: whole or not at all."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ia2.errors import FullDiskError, InputError

_NO_SPACE = ("No space left on device", "Disk quota exceeded", "os error 28", "os error 122")
"""What libraries say of a full disk that don't raise the system's own error."""


def cache_folder() -> Path:
    """The folder for what can be fetched or computed again: `$IA2_CACHE_DIR`, else the system's cache folder.

    The latter is `$XDG_CACHE_HOME/ia2`, or `~/.cache/ia2` where that isn't set. The folder may not exist yet.

    Raises:
        InputError: there is no home folder either.
    """
    if configured := os.environ.get("IA2_CACHE_DIR"):
        return Path(configured).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification: a relative path is to be ignored
    if Path(shared).is_absolute():
        return Path(shared) / "ia2"
    try:
        return Path.home() / ".cache" / "ia2"
    except RuntimeError as error:
        raise InputError("There is no home folder for the cache. Set IA2_CACHE_DIR to a folder for it.") from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a path to write a file to, with the same ending; it becomes `path` on success and vanishes on failure.

    A file that stood at `path` is replaced in one step. Folders above it are made.

    Raises:
        InputError: something above it is a file, or may not be written to.
        FullDiskError: there is no room for it.
    """
    check_writable(path)
    partial = _partial(path.parent, path.name)
    try:
        with _full_disk_named(path, partial):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def check_writable(path: Path) -> None:
    """Refuse a file or folder that can't be made, before anything is computed that would go there.

    Raises:
        InputError: something above it is a file, or may not be written to.
    """
    path = path.absolute()
    above = next(folder for folder in (path if path.is_dir() else path.parent, *path.parents) if folder.exists())
    if not above.is_dir():
        raise InputError(f"{path}: {above} is a file, so nothing can be written there. Name another place.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{path}: {above} can't be written to (permission denied). Name another place.")


def check_links(folder: Path) -> None:
    """Refuse a folder of ours in which a link leads out of it, so that nothing elsewhere is read or written over.

    The folder itself may be a link.

    Raises:
        InputError: there is such a link.
    """
    inside = folder.resolve()
    for parent, folders, files in os.walk(folder):
        for entry in (Path(parent, name) for name in (*folders, *files)):
            if entry.is_symlink() and not entry.resolve().is_relative_to(inside):
                raise InputError(f"{entry}: this links to {entry.resolve()}, outside the folder. Replace it.")


def check_absent_or_empty(path: Path) -> None:
    """Refuse an output folder that holds something: nothing of a person's is ever overwritten or mixed with ours.

    Raises:
        InputError: it is a file, or a folder that isn't empty or can't be made.
    """
    if path.exists() and not path.is_dir():
        raise InputError(f"{path}: this is a file, but a folder is needed. Name another one.")
    check_writable(path)
    if path.is_dir() and (entries := sorted(entry.name for entry in path.iterdir())):
        raise InputError(
            f"{path}: this folder isn't empty (it holds {entries[0]}), and nothing in it is overwritten. "
            "Name another one."
        )


@contextmanager
def folder_written_whole(path: Path, *, replace: bool = False) -> Iterator[Path]:
    """Yield an empty folder to write into; it becomes `path` on success and vanishes on failure.

    Args:
        path: the folder to be; folders above it are made.
        replace: whether a folder that stands at `path` is replaced by the new one. That is for caches, where every
            process writes the same: of several at once the last or the first stays, and each finds a whole folder.

    Raises:
        InputError: something is at `path` other than an empty folder, and it isn't to be replaced; or no folder can be
            made there.
        FullDiskError: there is no room for it.
    """
    path = path.absolute()
    if not replace:
        check_absent_or_empty(path)
    # an empty folder that exists is filled, not swapped: it may be a mount, a link, or where the person's shell is
    fill = path.is_dir() and not replace
    partial = _partial(path if fill else path.parent, path.name)
    try:
        with _full_disk_named(path, partial):
            partial.mkdir(parents=True)
    except FullDiskError:
        raise
    except OSError as error:  # a disk that is read-only, or a place such as /proc
        raise InputError(f"{path}: this folder can't be made ({error.strerror}). Name another place.") from error
    try:
        with _full_disk_named(path, partial):
            yield partial
            if fill:
                _move_up(partial, path)
            elif replace:
                _swap(partial, path)
            else:
                check_absent_or_empty(path)
                partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _partial(folder: Path, name: str) -> Path:
    return folder / f".partial-{secrets.token_hex(4)}-{name}"


@contextmanager
def _full_disk_named(path: Path, partial: Path) -> Iterator[None]:
    """Say of a full disk which folder is on it and how much was needed, whatever library was writing.

    Raises:
        FullDiskError: there was no room for `path`, of which `partial` holds what was written.
    """
    try:
        yield
    except FullDiskError:  # told of a file in the folder that was being written
        raise
    except Exception as error:
        if not _is_full_disk(error):
            raise
        folder = next(above for above in path.absolute().parents if above.exists())
        written, free = size_of(partial), shutil.disk_usage(folder).free
        raise FullDiskError(
            f"{folder}: the disk of this folder is full ({shown_size(free)} free). {path.name} needs more than the "
            f"{shown_size(written)} that could be written, which have been removed. Make room, and run the same "
            "command again."
        ) from error


def _is_full_disk(error: BaseException) -> bool:
    numbers = (errno.ENOSPC, errno.EDQUOT)
    return (isinstance(error, OSError) and error.errno in numbers) or any(text in str(error) for text in _NO_SPACE)


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder, links not followed; 0 where there is nothing."""
    entries = [path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())]
    total = 0
    for entry in entries:
        with suppress(OSError):  # another process may take it away
            status = entry.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def shown_size(size: int) -> str:
    """Bytes as people read them, such as 12.3 MB.

    Example:
        >>> shown_size(12_345_678)
        '12.3 MB'
    """
    if size < 1000:
        return f"{size} bytes"
    power = min((len(str(size)) - 1) // 3, 4)
    return f"{size / 1000**power:.1f} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def _move_up(partial: Path, path: Path) -> None:
    entries = list(partial.iterdir())
    for entry in entries:
        if (path / entry.name).exists():
            raise InputError(f"{path / entry.name}: this appeared while it was being computed and is not overwritten.")
    for entry in entries:
        entry.rename(path / entry.name)
    partial.rmdir()


def _swap(partial: Path, path: Path) -> None:
    aside = _partial(path.parent, path.name)
    with suppress(FileNotFoundError):
        path.rename(aside)
    try:
        partial.rename(path)
    except OSError:
        if not path.is_dir():
            raise
        shutil.rmtree(partial)  # another process was quicker, and wrote the same
    shutil.rmtree(aside, ignore_errors=True)
