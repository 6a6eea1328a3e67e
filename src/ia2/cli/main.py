"""The command line: parses, calls, prints. Nothing heavy is imported before a command runs."""

import importlib.metadata
import re
import signal
import sys
import threading
import traceback
import typing
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any, NoReturn, Optional

import docstring_parser
from jsonargparse import ActionYesNo, ArgumentParser

from ia2.adapters.registry import all_sizes
from ia2.cli.options import Adapt, Demo, Evaluate, Export, Predict, Report, Rescore, Run
from ia2.errors import ChangedFieldsError, FieldError, InputError

DESCRIPTION = "Move what a language model does with a few demonstrations in its prompt into a small adapter."
COMMANDS = {
    "demo": Demo,
    "adapt": Adapt,
    "predict": Predict,
    "evaluate": Evaluate,
    "export": Export,
    "rescore": Rescore,
    "run": Run,
    "report": Report,
}
LISTS = {
    "tasks": "List the built-in tasks.",
    "models": "List the built-in models.",
    "methods": "List the methods to adapt by.",
}


# how jsonargparse words a value of the wrong kind, on one line or on many
WRONG_VALUE = re.compile(r'Parser key "(?P<key>\w+)".*(?:Given|Got) value: (?P<value>[^\n]*)', re.DOTALL)
EXPECTED = re.compile(r"Expected an? (?:<class ')?(?:typing\.Literal)?([^'>.]*\S*?)'?>?(?:\.? Got| *$)", re.MULTILINE)
CHOICES = re.compile(r"typing\.Literal\[(?P<names>[^\]]*)\]")
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false"}
REQUIRED = "the following arguments are required: "
NO_LIST = "object is not iterable"
POSITIONAL = {option.name for options in COMMANDS.values() for option in fields(options) if option.metadata}
FLAGS = {
    "learning_rate": "lr",
    "learning_rates": "lr",
    "betas": "beta",
    "rows": "limit",
    "first_seed": "seed",
    "models": "model",
    "kind": "adapter",
    "label_sources": "label_source",
    "adapters": "adapter",
    "methods": "method",
    "train": "task",
    "tokens": "virtual_tokens",
}
"""What the options of a command are called that have another name than the field of a study that they stand for."""
STOPPED = {
    "run": "Stopped. What was done is kept, and the same command goes on with the rest.",
    "rescore": "Stopped. Run it again for what is left.",
    "predict": "Stopped. The same command goes on behind the rows that it has answered.",
    "adapt": "Stopped; nothing was written. The same command goes on behind the stages that it had trained.",
    "demo": "Stopped; nothing was written. The same command goes on behind the stages that it had trained.",
}
"""What is said of a command that leaves something when it is stopped."""


class Parser(ArgumentParser):
    """Says what is wrong with an argument in one line."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Write what is wrong and leave with status 2."""
        found = WRONG_VALUE.search(message)
        text = " ".join(message.split())
        if found is not None:
            wanted = dict.fromkeys(kind for kind in EXPECTED.findall(message) if kind != "NoneType")
            expected = " or ".join(KINDS.get(kind, kind) for kind in wanted) or "something else"
            if (choices := CHOICES.search(message)) is not None:
                expected = f"one of {choices['names'].replace(chr(39), '')}"
            text = f"--{found['key'].replace('_', '-')} {found['value']}: expected {expected}."
        elif text.startswith(REQUIRED):
            names = [name.rpartition(".")[2] for name in text.removeprefix(REQUIRED).split(", ")]
            shown = [name.upper() if name in POSITIONAL else f"--{name}" for name in names]
            text = f"{' and '.join(shown)}: this must be given."
        elif NO_LIST in text:
            text = "--config: options that take several values are lists there, such as lr: [1e-3, 1e-4]."
        sys.stderr.write(f"{text}\nSee {self.prog.replace('[options] ', '')} --help.\n")
        sys.exit(2)


def build_parser() -> ArgumentParser:
    """The parser of `ia2`; a command's options are the fields of its dataclass, their docstrings the help."""
    parser = Parser(prog="ia2", description=DESCRIPTION, version=importlib.metadata.version("ia2"))
    commands = parser.add_subcommands(dest="command", required=True)
    for name, options in COMMANDS.items():
        summary = docstring_parser.parse(options.__doc__ or "").short_description
        command = Parser(description=summary)
        command.add_argument("--config", action="config", help="A YAML file of these options.")
        command.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
        _add_fields(command, options)
        commands.add_subcommand(name, command, help=summary)
    for name, summary in LISTS.items():
        commands.add_subcommand(name, Parser(description=summary), help=summary)
    return parser


def _add_fields(parser: ArgumentParser, options: type) -> None:
    help_of = {
        parameter.arg_name: " ".join((parameter.description or "").split())
        for base in reversed(options.__mro__[:-1])
        for parameter in docstring_parser.parse_from_object(base).params
    }
    types = typing.get_type_hints(options)
    for option in fields(options):
        if option.metadata.get("sizes"):
            _add_sizes(parser)
        else:
            _add_field(parser, option, types[option.name], help_of[option.name])


def _add_sizes(parser: ArgumentParser) -> None:
    """An option for every size that a kind of adapter has; by default nothing is said of any."""
    for size in all_sizes():
        flag = "--" + _option_of(size.name).replace("_", "-")
        if size.type is bool:
            parser.add_argument(flag, action=ActionYesNo(no_prefix="no-"), default=False, help=size.help)
        elif typing.get_origin(size.type) is tuple:
            parser.add_argument(flag, type=str, nargs="+", default=[], help=size.help)
        else:
            parser.add_argument(flag, type=Optional[size.type], default=None, help=size.help)  # noqa: UP045


def _option_of(field: str) -> str:
    """The option that stands for a field, as a command's settings name it."""
    return FLAGS.get(field, field)


def _sizes(settings: dict[str, Any]) -> dict[str, Any]:
    """The adapter's sizes that were asked for, taken out of a command's settings."""
    asked = {size.name: settings.pop(_option_of(size.name)) for size in all_sizes()}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in asked.items()
        if value is not None and value is not False and value != []
    }


def _add_field(parser: ArgumentParser, option: Field[Any], kind: Any, help: str) -> None:
    flag = "--" + option.name.replace("_", "-")
    if option.metadata.get("positional") and typing.get_origin(kind) is tuple:
        (item, _) = typing.get_args(kind)
        parser.add_argument(option.name, type=item, nargs="*", default=[], help=help)
    elif option.metadata.get("positional"):
        parser.add_argument(option.name, type=kind, help=help)
    elif option.default is MISSING:
        parser.add_argument(flag, type=kind, required=True, help=help)
    elif kind is bool:
        parser.add_argument(flag, action=ActionYesNo(no_prefix="no-"), default=option.default, help=help)
    elif typing.get_origin(kind) is tuple:
        (item, _) = typing.get_args(kind)
        parser.add_argument(flag, type=item, nargs="+", default=list(option.default), help=help)
    else:
        parser.add_argument(flag, type=kind, default=option.default, help=help)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 2 for a user's mistake, 1 for a failure of ours."""
    given = build_parser().parse_args(arguments)
    name: str = given.command
    settings = dict(vars(given[name])) if given.get(name) is not None else {}
    debug = bool(settings.pop("debug", False))
    settings.pop("config", None)
    try:
        with _signals_unwind():
            return _run(name, settings)
    except InputError as error:
        if debug:
            traceback.print_exc()
        print(_with_flag(error, settings), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(STOPPED.get(name, "Stopped; nothing was written."), file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        reason = (str(error).splitlines() or [""])[0]
        print(
            f"ia2 {name} failed: {type(error).__name__}: {reason}\nThis is a fault of ours or of this machine, not of "
            "your input; --debug shows the traceback.",
            file=sys.stderr,
        )
        return 1


def _with_flag(error: InputError, settings: Mapping[str, Any]) -> str:
    """An error as the command line says it: a field by the flag that stands for it, the value as it was given."""
    if isinstance(error, ChangedFieldsError):
        return error.named(dict.fromkeys(_flag(field, settings) for field in error.fields))
    if not isinstance(error, FieldError):
        return str(error)
    given = settings.get(_option(error.field, settings))
    if error.value is not None and isinstance(given, str | Path):  # a path was made absolute, for example
        error = FieldError(error.field, given, error.rule)
    return error.named(_flag(error.field, settings))


def _option(field: str, settings: Mapping[str, Any]) -> str:
    # where a study's own file is given, its fields are that file's keys
    return field if "experiment" in settings else _option_of(field)


def _flag(field: str, settings: Mapping[str, Any]) -> str:
    """The flag that stands for a field; its own name where the command has none for it."""
    option = _option(field, settings)
    return "--" + option.replace("_", "-") if option in settings else field


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """Meanwhile what ends a process ends it as Ctrl-C does, so that nothing half-written is left behind."""

    def stop(number: int, _frame: Any) -> NoReturn:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # where handlers can't be set
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(name: str, settings: dict[str, Any]) -> int:
    """Run one command. Returns 1 where it did what it could and something failed."""
    if name == "demo":
        demo = Demo(**settings)
        from ia2.cli.commands import run_demo

        run_demo(demo)
    elif name == "adapt":
        asked = dict(settings)
        sizes = _sizes(asked)
        adapt = Adapt(**{**asked, "lr": tuple(asked["lr"]), "beta": tuple(asked["beta"]), "sizes": sizes})
        from ia2.cli.commands import run_adapt

        run_adapt(adapt)
    elif name == "evaluate":
        evaluate = Evaluate(**settings)
        from ia2.cli.commands import run_evaluate

        run_evaluate(evaluate)
    elif name == "predict":
        predict = Predict(**{**settings, "texts": tuple(settings["texts"])})
        from ia2.cli.predict import run_predict

        run_predict(predict)
    elif name == "export":
        export = Export(**settings)
        from ia2.cli.export import run_export

        run_export(export)
    elif name == "rescore":
        rescore = Rescore(**settings)
        from ia2.cli.commands import run_rescore

        run_rescore(rescore)
    elif name == "run":
        study = Run(**settings)
        from ia2.cli.commands import run_study

        return run_study(study)
    elif name == "report":
        report = Report(**settings)
        from ia2.cli.commands import run_report

        run_report(report)
    else:
        from ia2.cli.catalogue import list_methods, list_models, list_tasks

        {"tasks": list_tasks, "models": list_models, "methods": list_methods}[name]()
    return 0
