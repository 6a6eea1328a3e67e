"""Limits on how far a file may expand, in proportion to its size, as protection against crafted files."""

from pathlib import Path

from ia2.cache import shown_size

LEAST_BYTES, MOST_TIMES = 50 * 2**20, 50
"""Bytes that any file may unpack to, and the factor for larger ones; text compresses to a fifth of its size or less."""
LEAST_ROWS = 2**20
"""Rows that any file may have; larger ones may have a row per byte, as texts differ."""


def max_unpacked(packed: int) -> int:
    """Return the number of bytes that a file of this size may unpack to."""
    return max(LEAST_BYTES, MOST_TIMES * packed)


def check_unpacked(unpacked: int, packed: int) -> None:
    """Refuse data that unpacks to far more than the file's size.

    Args:
        unpacked: unpacked bytes, or those known so far.
        packed: the file's size in bytes.

    Raises:
        ValueError: the limit is exceeded; the message doesn't name the file.

    Example:
        >>> check_unpacked(10**9, 5000)
        Traceback (most recent call last):
        ValueError: it unpacks to 1.0 GB, from 5.0 kB
    """
    if unpacked > max_unpacked(packed):
        raise ValueError(f"it unpacks to {shown_size(unpacked)}, from {shown_size(packed)}")


def check_rows(rows: int, packed: int) -> None:
    """Refuse more rows than a file of this size can plausibly hold. Raises ValueError, as `check_unpacked`."""
    if rows > (most := max(LEAST_ROWS, packed)):
        raise ValueError(f"it says that it has {rows} rows; {most} are the most in {shown_size(packed)}")


def check_size(path: Path, most: int) -> None:
    """Refuse a file that is far larger than its kind ever is, before reading it.

    Args:
        path: the file, which may not exist.
        most: maximum size in bytes.

    Raises:
        ValueError: the file is larger.
    """
    if path.is_file() and (size := path.stat().st_size) > most:
        raise ValueError(f"it has {shown_size(size)}, and no such file has more than {shown_size(most)}")
