"""The command line: parses, calls, prints. Nothing heavy is imported before a command runs."""

import codecs
import os
import select
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import TextIOWrapper
from typing import Any, NoReturn

from ia2.adapters.registry import all_sizes
from ia2.cli.flags import option_of, with_flags
from ia2.cli.parser import COMMANDS, LISTS, build_parser
from ia2.cli.threads import wait_passively_if_busy
from ia2.errors import FullDiskError, InputError

RUNNERS = {
    "demo": ("commands", "run_demo"),
    "adapt": ("commands", "run_adapt"),
    "predict": ("predict", "run_predict"),
    "evaluate": ("commands", "run_evaluate"),
    "export": ("export", "run_export"),
    "rescore": ("commands", "run_rescore"),
    "run": ("study", "run_studies"),
    "report": ("commands", "run_report"),
    "cache": ("cache", "run_cache"),
}
"""The module and function of each command, imported when it runs; a function may return an exit status."""
COMPUTING = ("demo", "adapt", "predict", "evaluate", "run")
"""The commands that run a model."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that stop a command."""
NO_MEMORY = ("can't allocate memory", "Cannot allocate memory", "not enough memory: you tried to allocate")
"""What libraries say of memory that ran out, which raise an error of another kind."""
STOPPED = {
    "run": "Stopped. Finished work is kept; run the same command again to continue.",
    "rescore": "Stopped. Run it again to finish.",
    "predict": "Stopped. Run the same command again to continue after the rows already answered.",
    "adapt": "Stopped; nothing was written. Run the same command again to continue after the stages already trained.",
    "demo": "Stopped. Finished work is kept; run the same command again to continue.",
}
"""What is said of a command that leaves something when it is stopped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 2 for a user's mistake, 1 for a failure of ours.

    Where the reader of the standard output goes away, it is 141, that of a program which the signal of it ends.
    """
    _take_every_character()
    arguments = sys.argv[1:] if arguments is None else arguments
    parsed = build_parser(arguments).parse_args(arguments)
    name: str = parsed.command
    settings = dict(vars(parsed[name])) if parsed.get(name) is not None else {}
    debug = bool(settings.pop("debug", False))
    settings.pop("config", None)
    with _signals_unwind():
        return _guarded(name, settings, debug=debug)


def _take_every_character() -> None:
    """Let the standard output take what no table can do without, such as the arrow of a method's name.

    Where the language is C, it would take ASCII alone: UTF-8 says the same of ASCII. Of other sets of characters what
    they haven't got is escaped.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        encoding = codecs.lookup(sys.stdout.encoding).name
        if encoding == "ascii":
            sys.stdout.reconfigure(encoding="utf-8")
        elif not encoding.startswith("utf"):
            sys.stdout.reconfigure(errors="backslashreplace")


def _guarded(name: str, settings: dict[str, Any], *, debug: bool) -> int:
    """Run one command, and say in a sentence what went wrong. Returns the exit status."""
    try:
        status = _run(name, settings)
        if sys.stdout is not None:  # where a program is started without a standard output
            sys.stdout.flush()  # else what is left would be written when nobody can say any more that it went wrong
        return status
    except BrokenPipeError as error:
        if not _reader_is_gone():  # it was another pipe, such as one to a tracker
            return _failed(name, error, debug=debug)
        return 128 + signal.SIGPIPE
    except InputError as error:
        if debug:
            traceback.print_exc()
        print(with_flags(error, settings), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(STOPPED.get(name, "Stopped; nothing was written."), file=sys.stderr)
        return 130
    except FullDiskError as error:
        if debug:
            traceback.print_exc()
        print(error, file=sys.stderr)
        return 1
    except Exception as error:
        return _failed(name, error, debug=debug)


def _failed(name: str, error: Exception, *, debug: bool) -> int:
    """Say that a command failed otherwise than by its input. Returns the exit status."""
    if debug:
        traceback.print_exception(error)
    reason = (str(error).splitlines() or [""])[0]
    if _is_out_of_memory(error):
        print(
            f"ia2 {name} failed: there is not enough memory on this machine or its device "
            f"({reason or type(error).__name__}). Use a smaller model or shorter rows; for training, --memory sets how "
            "much may be used.",
            file=sys.stderr,
        )
        return 1
    print(
        f"ia2 {name} failed: {type(error).__name__}: {reason}\nThis is a bug in ia2 or a problem with this machine, "
        "not with your input; --debug shows the traceback.",
        file=sys.stderr,
    )
    return 1


def _reader_is_gone() -> bool:
    """Whether nobody reads the standard output any more, as behind `| head`; what is left of it then goes nowhere."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # that nobody reads is told without being asked for
    gone = bool(poll.poll(0))
    if gone:  # Python flushes once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """Meanwhile what ends a process ends it as Ctrl-C does, so that nothing half-written is left behind."""

    def stop(number: int, _frame: Any) -> NoReturn:
        # what is asked again meanwhile would cut the clearing up short
        for other in handled:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # where handlers can't be set
        yield
        return
    # what whoever started this wants ignored stays ignored: nohup's SIGHUP, and a shell's SIGINT in the background
    handled = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, whichever library had asked for it."""
    # torch isn't imported here
    named = type(error).__name__ == "OutOfMemoryError"
    return named or isinstance(error, MemoryError) or any(text in str(error) for text in NO_MEMORY)


def _sizes(settings: dict[str, Any]) -> dict[str, Any]:
    """The adapter's sizes that were asked for, taken out of a command's settings."""
    asked = {size.name: settings.pop(option_of(size.name)) for size in all_sizes()}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in asked.items()
        if value is not None and value is not False and value != []
    }


def _run(name: str, settings: dict[str, Any]) -> int:
    """Run one command. Returns 1 where it did what it could and something failed."""
    if name in LISTS:
        from ia2.cli.catalogue import list_methods, list_models, list_tasks

        {"tasks": list_tasks, "models": list_models, "methods": list_methods}[name]()
        return 0
    options = _options(name, settings)
    # what it looks at takes a quarter of the time that --help does
    from ia2.cli.checks import check_inputs

    check_inputs(name, settings)
    if name in COMPUTING and (sentence := wait_passively_if_busy()) is not None:
        print(sentence, file=sys.stderr)
    # this is where torch and transformers are imported
    run_command = getattr(import_module(f"ia2.cli.{RUNNERS[name][0]}"), RUNNERS[name][1])
    return int(run_command(options) or 0)


def _options(name: str, settings: dict[str, Any]) -> Any:
    """A command's options as its dataclass has them, which refuses those that contradict each other."""
    options = dict(settings)
    if name == "adapt":
        options["sizes"] = _sizes(options)
    return COMMANDS[name](**{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()})
