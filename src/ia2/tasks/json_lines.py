"""Reading files of JSON lines, each mistake named with its line."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ia2.errors import InputError


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object of a file, with the place where it stands; blank lines are left out.

    Raises:
        InputError: the file isn't there, or a line is no UTF-8 text or no JSON object.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    # as bytes, of which only \n ends a line: JSON may hold other line separators as they are
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            position = f"{path}, line {number}"
            try:
                text = line.decode("utf-8-sig").strip()
                if not text:
                    continue
                row = json.loads(text)
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{position}: this is not UTF-8 text (byte {error.start}). Save it as UTF-8."
                ) from error
            except json.JSONDecodeError as error:
                raise InputError(f"{position}: this is no JSON object ({error.msg}); is the file cut short?") from error
            if not isinstance(row, dict):
                raise InputError(f"{position}: this is no JSON object.")
            yield position, row
