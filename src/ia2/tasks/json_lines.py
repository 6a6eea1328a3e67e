"""Reading JSON lines, each mistake named with its line."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ia2.errors import InputError, nothing_at


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a UTF-8 file, with the place where it stands; blank lines are left out.

    Raises:
        InputError: the file isn't there, or a line is no UTF-8 text or no JSON object.
    """
    if not path.is_file():
        raise nothing_at(path)
    # as bytes, of which only \n ends a line: JSON may hold other line separators as they are
    with path.open("rb") as lines:
        yield from json_objects(path, lines)


def json_objects(path: Path, lines: Iterable[str | bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The object on each line, with the line's position; blank lines are left out.

    Args:
        path: the file, for the positions.
        lines: its lines, as text or as UTF-8.

    Raises:
        InputError: a line is no UTF-8 text or no JSON object.

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
        except (ValueError, RecursionError) as error:  # a number of thousands of digits, or objects nested as deep
            raise InputError(f"{position}: this JSON object can't be read ({error}).") from error
        if not isinstance(row, dict):
            raise InputError(f"{position}: this is not a JSON object.")
        yield position, row
