"""Reading JSON lines, with the line number in every error."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ia2.errors import InputError, nothing_at


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the position and the object of each line of a UTF-8 file, skipping blank lines.

    Raises:
        InputError: the file doesn't exist, or a line is not UTF-8 or not a JSON object.
    """
    if not path.is_file():
        raise nothing_at(path)
    # read as bytes, so that only \n ends a line: JSON strings may contain other line separators
    with path.open("rb") as lines:
        yield from json_objects(path, lines)


def json_objects(path: Path, lines: Iterable[str | bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the position and the object of each line, skipping blank lines.

    Args:
        path: the file, used in the positions.
        lines: the file's lines, as text or as UTF-8 bytes.

    Raises:
        InputError: a line is not UTF-8 or not a JSON object.

    Example:
        >>> list(json_objects(Path("rows.jsonl"), ['{"text": "a"}', ""]))
        [('rows.jsonl, line 1', {'text': 'a'})]
    """
    for number, line in enumerate(lines, start=1):
        position = f"{path}, line {number}"
        try:
            text = (line if isinstance(line, str) else line.decode("utf-8-sig")).strip()
            if not text:
                continue
            row = json.loads(text)
        except UnicodeDecodeError as error:
            raise InputError(f"{position}: this is not UTF-8 text (byte {error.start}). Save it as UTF-8.") from error
        except json.JSONDecodeError as error:
            raise InputError(f"{position}: this is not a JSON object ({error.msg}); is the file truncated?") from error
        except (ValueError, RecursionError) as error:  # numbers with thousands of digits, or objects nested that deep
            raise InputError(f"{position}: this JSON object can't be read ({error}).") from error
        if not isinstance(row, dict):
            raise InputError(f"{position}: this is not a JSON object.")
        yield position, row
