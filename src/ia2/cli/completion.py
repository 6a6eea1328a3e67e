"""Shell completion for `ia2`, generated from the parser by shtab."""

import argparse
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from ia2.adapters.registry import KINDS
from ia2.training.method_names import DESCRIPTIONS

Shell = Literal["bash", "zsh", "fish"]
"""Supported shells."""


def completion_script(parser: argparse.ArgumentParser, shell: Shell) -> str:
    """Return the script that makes a shell complete commands, options, choices and files.

    Args:
        parser: the parser of all commands; it is modified and can't be used for parsing afterwards.
        shell: the shell.
    """
    import shtab

    from ia2.tasks.benchmarks import BENCHMARKS
    from ia2.tasks.reviews import NAME as REVIEWS

    files = {"FILE": shtab.FILE, "FOLDER": shtab.DIRECTORY, "EXPERIMENT": shtab.FILE, "MODEL": shtab.FILE}
    _note_values(parser, files, {"METHOD": DESCRIPTIONS, "TASK": (REVIEWS, *BENCHMARKS), "KIND": KINDS})
    return str(shtab.complete(parser, shell))


def _note_values(parser: argparse.ArgumentParser, files: Mapping[str, Any], names: Mapping[str, Iterable[str]]) -> None:
    """Mark each argument's value as a file, a folder or a choice, according to its placeholder in the help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _note_values(command, files, names)
        elif action.metavar in files:
            action.complete = files[str(action.metavar)]  # type: ignore[attr-defined]
        elif action.metavar in names:
            action.choices = list(names[str(action.metavar)])
        elif isinstance(action.metavar, str) and action.metavar.startswith("{"):
            action.choices = action.metavar.strip("{}").split(",")


class PrintCompletion(argparse.Action):
    """Prints a shell's script and exits, as `--version` does with the version."""

    def __init__(self, option_strings: list[str], dest: str, **settings: Any) -> None:
        super().__init__(
            option_strings, argparse.SUPPRESS, default=argparse.SUPPRESS, choices=get_args(Shell), help=settings["help"]
        )

    def __call__(self, parser: argparse.ArgumentParser, _namespace: Any, shell: Any, _option: Any = None) -> None:
        """Print the script of the named shell."""
        # this parser lacks the commands' options; the import is here because the other module imports this one
        from ia2.cli.parser import build_parser

        print(completion_script(build_parser(), shell))
        parser.exit()
