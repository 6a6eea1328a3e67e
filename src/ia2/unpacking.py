"""How much a file may hold: no more than files of its size or of its kind do, whatever a stranger has put into it."""

from pathlib import Path

from ia2.cache import shown_size

LEAST_BYTES, MOST_TIMES = 50 * 2**20, 50
"""Bytes that every file may unpack to, and how many times its size a larger one may; text packs to a fifth or less."""
LEAST_ROWS = 2**20
"""Rows that every file may have; a larger one may have a row for each of its bytes, as texts differ."""


def most_unpacked(packed: int) -> int:
    """Bytes that a file of this size may unpack to."""
    return max(LEAST_BYTES, MOST_TIMES * packed)


def check_unpacked(unpacked: int, packed: int) -> None:
    """Refuse what unpacks to far more than its size.

    Args:
        unpacked: bytes, or as many of them as are known of.
        packed: bytes of the file.

    Raises:
        ValueError: it does; says so without naming the file.

    Example:
        >>> check_unpacked(10**9, 5000)
        Traceback (most recent call last):
        ValueError: it unpacks to 1.0 GB, from 5.0 kB
    """
    if unpacked > most_unpacked(packed):
        raise ValueError(f"it unpacks to {shown_size(unpacked)}, from {shown_size(packed)}")


def check_rows(rows: int, packed: int) -> None:
    """Refuse more rows than a file of this size can tell apart. Raises ValueError, as `check_unpacked`."""
    if rows > (most := max(LEAST_ROWS, packed)):
        raise ValueError(f"it says that it has {rows} rows; {most} are the most in {shown_size(packed)}")


def check_size(path: Path, most: int) -> None:
    """Refuse a file, before it is read, that is far larger than any of its kind.

    Args:
        path: the file, if there is one.
        most: bytes.

    Raises:
        ValueError: it has more.
    """
    if path.is_file() and (size := path.stat().st_size) > most:
        raise ValueError(f"it has {shown_size(size)}, and no such file has more than {shown_size(most)}")
