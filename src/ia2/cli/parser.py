"""The argument parser of `ia2`: a command's options are the fields of its dataclass, with their docstrings as help."""

import importlib.metadata
import sys
import typing
from argparse import Action
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, Optional

import docstring_parser
from jsonargparse import ActionYesNo, ArgumentParser, DefaultHelpFormatter

from ia2.adapters.registry import all_sizes
from ia2.cli.argument_errors import command_of, plain_message
from ia2.cli.completion import PrintCompletion
from ia2.cli.flags import option_of
from ia2.cli.loading_options import Loading
from ia2.cli.option_groups import GROUPS, group_of
from ia2.cli.options import Adapt, Cache, Demo, Evaluate, Export, Predict
from ia2.cli.options_file import OptionsFile
from ia2.cli.study_options import Report, Rescore, Run

DESCRIPTION = "Move what a language model does with a few demonstrations in its prompt into a small adapter."
COMMANDS: Mapping[str, type] = {
    "demo": Demo,
    "adapt": Adapt,
    "predict": Predict,
    "evaluate": Evaluate,
    "export": Export,
    "rescore": Rescore,
    "run": Run,
    "report": Report,
    "cache": Cache,
}
LISTS = {
    "tasks": "List the built-in tasks.",
    "models": "List the built-in models.",
    "methods": "List the methods to adapt by.",
}
POSITIONAL = [option.name for options in COMMANDS.values() for option in fields(options) if option.metadata]


class PlainHelp(DefaultHelpFormatter):
    """Help formatter that shows options' help as written, without Python types, and one example per line."""

    def _get_help_string(self, action: Action) -> str:
        return action.help or ""

    def _format_action(self, action: Action) -> str:
        # without the line that jsonargparse puts above the commands
        return super()._format_action(action).removeprefix("  Available subcommands:\n")

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if "\n" in text else super()._fill_text(text, width, indent)


class Parser(ArgumentParser):
    """Argument parser that reports errors in one line."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=PlainHelp, allow_abbrev=False, add_help=False, **settings)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and exit with status 2."""
        flags = [flag for action in self._actions for flag in action.option_strings]
        text = plain_message(message, flags=flags, positional=POSITIONAL, commands=[*COMMANDS, *LISTS])
        sys.stderr.write(f"{text}\nSee {' '.join([self.prog, *command_of(message)])} --help.\n")
        sys.exit(2)


def build_parser(arguments: Sequence[str] | None = None) -> ArgumentParser:
    """Return the parser of `ia2` with all its commands.

    Args:
        arguments: the arguments that will be parsed; only commands among them get their options, because adding options
            is slow. By default all commands get them.
    """
    parser = Parser(prog="ia2", description=DESCRIPTION)
    commands = parser.add_subcommands(
        dest="command",
        title="Commands",
        description="`ia2 COMMAND --help` explains one.",
        metavar="COMMAND",
        required=True,
    )
    listings = {name: Parser(description=summary, usage=f"ia2 {name}") for name, summary in LISTS.items()}
    for listing in listings.values():
        _add_help(listing.add_argument_group("Options"))
    described = {
        name: _command(name, options)
        if arguments is None or name in arguments
        else Parser(description=_summary(options))
        for name, options in COMMANDS.items()
    }
    for name, command in {**described, **listings}.items():
        commands.add_subcommand(name, command, help=command.description)
        command.prog = f"ia2 {name}"
    parser.usage = "ia2 COMMAND [options]"
    other = parser.add_argument_group("Options")
    _add_help(other)
    other.add_argument(
        "--version",
        action="version",
        version=f"%(prog)s {importlib.metadata.version('ia2')}",
        help="Show the version and exit.",
    )
    other.add_argument(
        "--completion",
        action=PrintCompletion,
        help="Print what makes a shell complete commands and options, and exit.",
    )
    return parser


def _command(name: str, options: type) -> Parser:
    """Return the parser of one command."""
    examples = [example.description for example in docstring_parser.parse(options.__doc__ or "").examples]
    lines = [f"  {line.strip()}" for line in "\n".join(map(str, examples)).splitlines()]
    usage = " ".join(part for part in ("ia2", name, options.__dict__["usage"], "[options]") if part)
    parser = Parser(
        description=_summary(options),
        usage=usage,
        epilog="\n".join([f"Example{'s' * (len(lines) > 1)}:", *lines]),
    )
    _Command(parser, name).add_fields(options)
    other = parser.add_argument_group("Other options")
    other.add_argument("--config", action=OptionsFile, metavar="FILE", help="A YAML file of these options.")
    other.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    _add_help(other)
    return parser


def _summary(options: type) -> str:
    return docstring_parser.parse(options.__doc__ or "").short_description or ""


def _add_help(group: Any) -> None:
    group.add_argument("-h", "--help", action="help", help="Show this help and exit.")


class _Command:
    """Adds a command's options to its parser, each to its group."""

    def __init__(self, parser: Parser, name: str) -> None:
        self.name = name
        self.groups = {title: parser.add_argument_group(title) for title in GROUPS}

    def add_fields(self, options: type) -> None:
        """Add an option for every field of a command's dataclass, and for every adapter size if it has sizes."""
        help_of = {
            parameter.arg_name: " ".join((parameter.description or "").split())
            for base in reversed(options.__mro__[:-1])
            for parameter in docstring_parser.parse_from_object(base).params
        }
        types = typing.get_type_hints(options)
        loading = {option.name for option in fields(Loading)}
        # loading options come last, although a dataclass has the fields of its base first
        for option in sorted(fields(options), key=lambda option: option.name in loading):
            if option.metadata.get("sizes"):
                for size in all_sizes():
                    self._add_size(option_of(size.name), size.type, size.help)
            else:
                self._add_field(option, types[option.name], help_of[option.name])

    def _add_size(self, option: str, kind: Any, help: str) -> None:
        """Add an option for a size of some kinds of adapters; without a value, the kind's default applies."""
        if kind is bool:
            self._add(option, action=ActionYesNo(no_prefix="no-"), default=False, help=help)
        elif typing.get_origin(kind) is tuple:
            (item, _) = typing.get_args(kind)
            self._add(option, type=item, nargs="+", default=[], help=help)
        else:
            self._add(option, type=Optional[kind], default=None, help=help)  # noqa: UP045

    def _add_field(self, option: Field[Any], kind: Any, help: str) -> None:
        positional = option.metadata.get("positional", False)
        help = _with_default(help, option.default)
        if positional and typing.get_origin(kind) is tuple:
            (item, _) = typing.get_args(kind)
            several = {"nargs": "+"} if option.default is MISSING else {"nargs": "*", "default": []}
            self._add(option.name, positional=True, type=item, help=help, **several)
        elif positional and option.default is not MISSING:
            self._add(option.name, positional=True, type=kind, nargs="?", default=option.default, help=help)
        elif positional:
            self._add(option.name, positional=True, type=kind, help=help)
        elif option.default is MISSING:
            self._add(option.name, type=kind, required=True, help=help)
        elif kind is bool:
            self._add(option.name, action=ActionYesNo(no_prefix="no-"), default=option.default, help=help)
        elif typing.get_origin(kind) is tuple:
            (item, _) = typing.get_args(kind)
            self._add(option.name, type=item, nargs="+", default=list(option.default), help=help)
        else:
            self._add(option.name, type=kind, default=option.default, help=help)

    def _add(self, option: str, *, positional: bool = False, **settings: Any) -> None:
        group, metavar = group_of(self.name, option)
        if not metavar and (choices := choices_of(settings.get("type"))):
            metavar = f"{{{','.join(choices)}}}"
        if metavar:
            settings["metavar"] = metavar
        self.groups[group].add_argument(option if positional else "--" + option.replace("_", "-"), **settings)


def choices_of(kind: Any) -> list[str]:
    """Return the choices of an option's type if it is a Literal, or a Literal or None; otherwise an empty list.

    Example:
        >>> choices_of(Literal["north", "south"] | None)
        ['north', 'south']
        >>> choices_of(int)
        []
    """
    literals = [kind, *typing.get_args(kind)]
    return [str(value) for part in literals if typing.get_origin(part) is Literal for value in typing.get_args(part)]


def _with_default(help: str, default: Any) -> str:
    """Return an option's help with the default appended, if it has one and the help doesn't state it."""
    if default is True:
        default = "yes"
    if not isinstance(default, str | int | float | Path) or default is False or "default:" in help:
        return help
    return f"{help.removesuffix('.')} (default: {default})."
