"""The cache folder, and atomic writes of files and folders."""

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
"""Messages of libraries that report a full disk without the system's own error."""


def cache_folder() -> Path:
    """Return the folder for data that can be downloaded or computed again, which may not exist yet.

    It is `$IA2_CACHE_DIR` if set, else `$XDG_CACHE_HOME/ia2`, else `~/.cache/ia2`.

    Raises:
        InputError: there is no home folder either.
    """
    if configured := os.environ.get("IA2_CACHE_DIR"):
        return Path(configured).expanduser().absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification requires relative paths to be ignored
    if Path(shared).is_absolute():
        return Path(shared) / "ia2"
    try:
        return Path.home() / ".cache" / "ia2"
    except RuntimeError as error:
        raise InputError("There is no home folder for the cache. Set IA2_CACHE_DIR to a folder for it.") from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path with the same extension; the file moves to `path` on success and is deleted on failure.

    An existing file at `path` is replaced atomically. Parent folders are created.

    Raises:
        InputError: a parent is a file or isn't writable.
        FullDiskError: the disk is full.
    """
    check_writable(path)
    partial = _partial(path.parent, path.name)
    try:
        with full_disk_named(path, partial):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def check_writable(path: Path) -> None:
    """Refuse a file or folder that can't be created, before computing its content.

    Raises:
        InputError: a parent is a file or isn't writable.
    """
    path = path.absolute()
    above = next(folder for folder in (path if path.is_dir() else path.parent, *path.parents) if folder.exists())
    if not above.is_dir():
        raise InputError(f"{path}: {above} is a file, so nothing can be written there. Name another place.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{path}: {above} can't be written to (permission denied). Name another place.")


def check_links(folder: Path) -> None:
    """Refuse a folder of ours with a symbolic link out of it, so that nothing outside is read or overwritten.

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
    """Refuse an output folder that isn't empty, so that a user's files are never overwritten or mixed with ours.

    Raises:
        InputError: the path is a file, or a folder that isn't empty or can't be created.
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
    """Yield an empty temporary folder; it moves to `path` on success and is deleted on failure.

    Args:
        path: the final folder; parent folders are created.
        replace: whether to replace an existing folder at `path`. This is meant for caches, where every process writes
            the same content: if several write at once, the first or the last folder stays, and each process finds a
            complete one.

    Raises:
        InputError: `path` exists, isn't an empty folder and isn't to be replaced; or no folder can be created there.
        FullDiskError: the disk is full.
    """
    path = path.absolute()
    if not replace:
        check_absent_or_empty(path)
    # an existing empty folder is filled in place, as it may be a mount, a link, or a shell's working directory
    fill = path.is_dir() and not replace
    partial = _partial(path if fill else path.parent, path.name)
    try:
        with full_disk_named(path, partial):
            partial.mkdir(parents=True)
    except FullDiskError:
        raise
    except OSError as error:  # a read-only disk, or a path such as /proc
        raise InputError(f"{path}: this folder can't be made ({error.strerror}). Name another place.") from error
    try:
        with full_disk_named(path, partial):
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
def full_disk_named(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Report a full disk with the folder and the size needed, whatever library was writing.

    Args:
        path: what is written, and is removed if that fails.
        partial: holds what was written; by default `path`.

    Raises:
        FullDiskError: the disk was full.
    """
    try:
        yield
    except FullDiskError:  # already reported for a file in this folder
        raise
    except Exception as error:
        if not _is_full_disk(error):
            raise
        folder = next(above for above in path.absolute().parents if above.exists())
        written, free = size_of(partial or path), shutil.disk_usage(folder).free
        raise FullDiskError(
            f"{folder}: the disk of this folder is full ({shown_size(free)} free). {path.name} needs more than the "
            f"{shown_size(written)} that could be written, which have been removed. Make room, and run the same "
            "command again."
        ) from error


def full_disk_error(error: BaseException | None) -> FullDiskError | None:
    """Return the error to report if a full disk is among an error and its causes, else None.

    For what is written without `written_whole`, such as the file of a lock.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, FullDiskError):
            return error
        if _is_full_disk(error):
            file = error.filename if isinstance(error, OSError) else None
            subject = "A disk" if file is None else f"{Path(str(file)).absolute().parent}: the disk of this folder"
            return FullDiskError(f"{subject} is full ({error}). Make room, and run the same command again.")
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return None


def _is_full_disk(error: BaseException) -> bool:
    numbers = (errno.ENOSPC, errno.EDQUOT)
    return (isinstance(error, OSError) and error.errno in numbers) or any(text in str(error) for text in _NO_SPACE)


def size_of(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder without following links; 0 if it doesn't exist."""
    entries = [path, *(path.rglob("*") if path.is_dir() and not path.is_symlink() else ())]
    total = 0
    for entry in entries:
        with suppress(OSError):  # another process may delete it
            status = entry.lstat()
            total += status.st_size if stat.S_ISREG(status.st_mode) else 0
    return total


def shown_size(size: int) -> str:
    """Return a size in bytes for display, such as 12.3 MB.

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
        shutil.rmtree(partial)  # another process was faster, and wrote the same content
    shutil.rmtree(aside, ignore_errors=True)
