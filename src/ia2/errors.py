"""Errors for the user: one sentence that names the wrong input and says what to do."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

NO_FILE = "this is not a regular file but, for example, a pipe. Save its output as a file."
"""Message for a path that is neither a file nor a folder."""
_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]+):/+(?P<rest>.*)", re.IGNORECASE)
_HUB_PAGE = re.compile(r"(?:www\.)?(?:huggingface\.co|hf\.co)/(?P<datasets>datasets/)?(?P<name>[\w.-]+/[\w.-]+)")


def printable(text: object, keep: str = "") -> str:
    r"""Return a text for a message, with unprintable characters, which could control a terminal, escaped.

    Args:
        text: the text.
        keep: characters that are not escaped.

    Example:
        >>> printable("price\n\x1b[31m")
        'price\\n\\x1b[31m'
    """
    return "".join(
        character if character.isprintable() or character in keep else character.encode("unicode_escape").decode()
        for character in str(text)
    )


class InputError(ValueError):
    """An unusable input. The message names the input, then the problem, then the remedy (exit status 2).

    Example:
        >>> raise InputError("rows.csv: no such file. Name another one.")
        Traceback (most recent call last):
        ia2.errors.InputError: rows.csv: no such file. Name another one.
    """

    def __init__(self, sentence: object = "") -> None:
        # line breaks separate several problems
        super().__init__(printable(sentence, keep="\n"))


class ChangedFieldsError(InputError):
    """Fields that differ from an earlier run's; the command line shows each as its flag.

    Args:
        fields: the names of the fields.
        sentence: the message, with `{fields}` as a placeholder for the names.

    Example:
        >>> str(ChangedFieldsError(["rows", "ece"], "out: with other settings ({fields})."))
        'out: with other settings (rows, ece).'
    """

    def __init__(self, fields: Iterable[str], sentence: str) -> None:
        self.fields, self.sentence = tuple(fields), sentence
        super().__init__(self.named(self.fields))

    def named(self, names: Iterable[str]) -> str:
        """Return the message with other names for the fields."""
        return self.sentence.replace("{fields}", ", ".join(names))


class FieldError(InputError):
    """A field with an invalid value; the command line shows the field as its flag.

    Args:
        field: the field's name, such as `learning_rate`.
        value: the invalid value; None to leave it out of the message.
        rule: the problem and the remedy, as the rest of a sentence.

    Example:
        >>> str(FieldError("learning_rate", -1.0, "this must be a positive number."))
        'learning_rate -1: this must be a positive number.'
    """

    def __init__(self, field: str, value: object, rule: str) -> None:
        self.field, self.value, self.rule = field, value, rule
        super().__init__(self.named(field))

    def named(self, name: str) -> str:
        """Return the message with another name for the field, such as `--lr`."""
        return f"{name}: {self.rule}" if self.value is None else f"{name} {self.shown}: {self.rule}"

    @property
    def shown(self) -> str:
        """The value formatted for users."""
        return f"{self.value:g}" if isinstance(self.value, float) else str(self.value)

    def __reduce__(self) -> tuple[type["FieldError"], tuple[str, object, str]]:
        """Pickle by the constructor's arguments, so that it can be sent between processes."""
        return type(self), (self.field, self.value, self.rule)


class FullDiskError(OSError):
    """A disk without enough free space. The message names the folder, then the space needed (exit status 1)."""


def nothing_at(
    path: Path | str, otherwise: str = "no such file.", *, hub: Literal["model", "dataset"] | None = None
) -> InputError:
    """Return the error for a path at which no file or folder can be read.

    Args:
        path: the user's path; a URL may have lost one of its two slashes.
        otherwise: the rest of the message if nothing exists at the path.
        hub: the kind of hub repository accepted in place of a path, so that its URL can be converted to a name.

    Example:
        >>> str(nothing_at("https://huggingface.co/Qwen/Qwen3-4B", hub="model"))
        'https://huggingface.co/Qwen/Qwen3-4B: this is a URL. Use Qwen/Qwen3-4B.'
    """
    if url := _URL.match(str(path)):
        shown = f"{url['scheme']}://{url['rest']}"
        page = _HUB_PAGE.match(url["rest"])
        if page and hub == ("dataset" if page["datasets"] else "model"):
            return InputError(f"{shown}: this is a URL. Use {'hf:' if page['datasets'] else ''}{page['name']}.")
        return InputError(f"{shown}: this is a URL, and URLs are not downloaded. Download it and name your copy.")
    if Path(path).exists():
        return InputError(f"{path}: {NO_FILE}")
    if os.path.lexists(path):
        return InputError(f"{path}: this link is broken. Name another file, or repair the link.")
    return InputError(f"{path}: {otherwise}")
