"""Plain one-sentence versions of jsonargparse's and argparse's error messages."""

import re
from collections.abc import Iterator, Sequence

from ia2.cli.suggestions import did_you_mean

# jsonargparse's message for a value of the wrong type, on one or several lines
WRONG_VALUE = re.compile(r'Parser key "(?P<key>\w+)".*(?:Given|Got) value: (?P<value>[^\n]*)', re.DOTALL)
EXPECTED = re.compile(r"Expected an? (?:<class ')?(?:typing\.Literal)?([^'>.]*\S*?)'?>?(?:\.? Got| *$)", re.MULTILINE)
CHOICES = re.compile(r"typing\.Literal\[(?P<names>[^\]]*)\]")
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}
REQUIRED = "the following arguments are required: "
NO_LIST = "object is not iterable"
UNRECOGNIZED = "unrecognized arguments: "
WRONG_COMMAND = re.compile(r"argument (?:command|COMMAND): invalid choice: '(?P<word>[^']*)'")
NO_COMMAND = 'expected "command" to be one of'
WRONG_CHOICE = re.compile(
    r"argument (?P<flag>--[^ :]+): invalid choice: '(?P<word>[^']*)' \(choose from (?P<names>.*)\)"
)
NOT_TAKEN = re.compile(r"argument (?P<flag>[^ :/]+)[^ :]*: ignored explicit argument")
NO_VALUE = re.compile(r"argument (?P<flag>[^ :]+): expected (?:one|at least one) argument")


def plain_message(
    message: str, *, flags: Sequence[str] = (), positional: Sequence[str] = (), commands: Sequence[str] = ()
) -> str:
    """Return a plain version of a parser's error message.

    Args:
        message: message of jsonargparse or argparse.
        flags: the command's options.
        positional: names of positional arguments.
        commands: all commands.

    Example:
        >>> plain_message("unrecognized arguments: --modle x", flags=["--model", "--method"])
        '--modle: there is no such option. Did you mean --model?'
        >>> plain_message("argument --lr: expected at least one argument")
        '--lr: this needs a value.'
    """
    text = " ".join(message.split())
    if (wrong := WRONG_VALUE.search(message)) is not None:
        return _wrong_value(message, wrong["key"].replace("_", "-"), wrong["value"])
    if text.startswith(REQUIRED):
        names = [name.rpartition(".")[2] for name in text.removeprefix(REQUIRED).split(", ")]
        shown = [name.upper() if name in positional else f"--{name}" for name in names]
        return f"{' and '.join(shown)}: this is required."
    if NO_LIST in text:
        return "--config: options that take several values are lists there, such as lr: [1e-3, 1e-4]."
    if text.startswith(UNRECOGNIZED):
        word = next(_suspects(text.removeprefix(UNRECOGNIZED).split(" ")))
        if not word.startswith("-"):
            return f"{word}: unexpected value. Quote a text that contains spaces."
        return f"{word}: there is no such option.{did_you_mean(word, flags)}"
    if (command := WRONG_COMMAND.search(text)) is not None:
        return f"{command['word']}: there is no such command.{did_you_mean(command['word'], commands)}"
    if (choice := WRONG_CHOICE.search(text)) is not None:
        choices = choice["names"].replace("'", "")
        hint = did_you_mean(choice["word"], choices.split(", "))
        return f"{choice['flag']} {choice['word']}: expected one of {choices}.{hint}"
    if NO_COMMAND in text:
        return f"COMMAND: this is required. Choose from {', '.join(commands)}."
    if (missing := NO_VALUE.search(text)) is not None:
        return f"{missing['flag']}: this needs a value."
    if (switch := NOT_TAKEN.search(text)) is not None:
        return f"{switch['flag']}: this takes no value."
    return text


def command_of(message: str) -> list[str]:
    """Return the command that a message about the whole command line belongs to, as a list of at most one name.

    Example:
        >>> command_of("the following arguments are required: run.experiment")
        ['run']
    """
    name, dot, _ = message.removeprefix(REQUIRED).partition(".")
    return [name] if message.startswith(REQUIRED) and dot else []


def _wrong_value(message: str, key: str, value: str) -> str:
    wanted = dict.fromkeys(kind for kind in EXPECTED.findall(message) if kind != "NoneType")
    if (choices := CHOICES.search(message)) is None:
        expected = " or ".join(KINDS.get(kind, kind) for kind in wanted) or "something else"
        return f"--{key} {value}: expected {expected}."
    names = choices["names"].replace("'", "")
    return f"--{key} {value}: expected one of {names}.{did_you_mean(value, names.split(', '))}"


def _suspects(words: Sequence[str]) -> Iterator[str]:
    """Yield the unrecognised words, options first, since the others may be their values."""
    yield from sorted((word.partition("=")[0] for word in words), key=lambda word: not word.startswith("-"))
