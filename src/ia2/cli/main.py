"""Entry point of the command line. Nothing slow is imported before a command runs."""

import codecs
import logging
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
from ia2.cache import full_disk_error
from ia2.cli.flags import option_of, with_flags
from ia2.cli.memory_limit import check_memory_limit
from ia2.cli.parser import COMMANDS, LISTS, build_parser
from ia2.cli.threads import wait_passively_if_busy
from ia2.errors import InputError

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
"""Commands that run a model."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that stop a command."""
NO_MEMORY = (
    "can't allocate memory",
    "Cannot allocate memory",
    "not enough memory: you tried to allocate",
    "failed to map segment from shared object",
)
"""Texts in out-of-memory errors of libraries that don't raise MemoryError."""
STOPPED = {
    "run": "Stopped. Finished work is kept; run the same command again to continue.",
    "rescore": "Stopped. Run it again to finish.",
    "predict": "Stopped. Run the same command again to continue after the rows already answered.",
    "adapt": "Stopped; nothing was written. Run the same command again to continue where training stopped.",
    "demo": "Stopped. Finished work is kept; run the same command again to continue.",
}
"""Messages of commands that leave results when they are stopped."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0, 2 for a user's mistake, 1 for a failure of the program or machine.

    If the reader of the standard output goes away, the status is 141, as for a program ended by SIGPIPE.
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
    """Make the standard output accept all characters of tables, such as the arrow in a method's name.

    In the C locale it would only accept ASCII, so it is set to UTF-8, a superset. In other encodings, characters that
    they lack are escaped.
    """
    if isinstance(sys.stdout, TextIOWrapper):
        encoding = codecs.lookup(sys.stdout.encoding).name
        if encoding == "ascii":
            sys.stdout.reconfigure(encoding="utf-8")
        elif not encoding.startswith("utf"):
            sys.stdout.reconfigure(errors="backslashreplace")


def _guarded(name: str, settings: dict[str, Any], *, debug: bool) -> int:
    """Run one command, reporting errors in one sentence. Returns the exit status."""
    try:
        status = _run(name, settings)
        if sys.stdout is not None:  # None if the program was started without a standard output
            sys.stdout.flush()  # at exit, an error in flushing could no longer be reported
        return status
    except BrokenPipeError as error:
        if not _reader_is_gone():  # the error is from another pipe, such as a tracker's
            return _failed(name, error, debug=debug)
        return 128 + signal.SIGPIPE
    except InputError as error:
        # lack of memory or a full disk, which a reader or a check took for a fault of its file or folder
        if _lack_of_memory(error) is not None or full_disk_error(error) is not None:
            return _failed(name, error, debug=debug)
        if debug:
            traceback.print_exc()
        print(with_flags(error, settings), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(STOPPED.get(name, "Stopped; nothing was written."), file=sys.stderr)
        return 130
    except Exception as error:
        return _failed(name, error, debug=debug)


def _failed(name: str, error: Exception, *, debug: bool) -> int:
    """Report a failure that isn't due to the user's input. Returns the exit status."""
    if debug:
        traceback.print_exception(error)
    if (full := full_disk_error(error)) is not None:
        print(full, file=sys.stderr)
        return 1
    reason = (str(error).splitlines() or [""])[0]
    if (lack := _lack_of_memory(error)) is not None:
        reason = (str(lack).splitlines() or [""])[0]
        print(
            f"ia2 {name} failed: there is not enough memory on this machine or its device "
            f"({reason or type(lack).__name__}). Use a smaller model or shorter rows; for training, --memory sets how "
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
    """Return whether the reader of the standard output is gone, as after `| head`; if so, discard further output."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)  # hang-ups and errors are always reported
    gone = bool(poll.poll(0))
    if gone:  # Python flushes stdout again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return gone


@contextmanager
def _signals_unwind() -> Iterator[None]:
    """Turn terminating signals into exceptions inside the block, so that clean-up runs as after Ctrl-C."""

    def stop(number: int, _frame: Any) -> NoReturn:
        # a second signal would interrupt the clean-up
        for other in handled:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():  # handlers can only be set in the main thread
        yield
        return
    # signals ignored by the parent process stay ignored: SIGHUP under nohup, SIGINT in a shell's background job
    handled = [number for number in STOPPING if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _lack_of_memory(error: BaseException | None) -> Exception | None:
    """Return the out-of-memory error, of any library, among an error and its causes; None if there is none."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        # by name, because torch isn't imported here
        named = type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError)
        if isinstance(error, Exception) and (named or any(text in str(error) for text in NO_MEMORY)):
            return error
        error = error.__cause__ or error.__context__
    return None


def _sizes(settings: dict[str, Any]) -> dict[str, Any]:
    """Remove the adapter's sizes from a command's settings, and return those that were given."""
    asked = {size.name: settings.pop(option_of(size.name)) for size in all_sizes()}
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in asked.items()
        if value is not None and value is not False and value != []
    }


def _run(name: str, settings: dict[str, Any]) -> int:
    """Run one command. Returns 1 if a part of its work failed."""
    if name in LISTS:
        from ia2.cli.catalogue import list_methods, list_models, list_tasks

        {"tasks": list_tasks, "models": list_models, "methods": list_methods}[name]()
        return 0
    options = _options(name, settings)
    check_memory_limit()
    # imported here, because its imports take a quarter of the time of --help
    from ia2.cli.checks import check_inputs

    check_inputs(name, settings)
    if name in COMPUTING and (sentence := wait_passively_if_busy()) is not None:
        print(sentence, file=sys.stderr)
    # peft imports bitsandbytes if it is installed, which on some CPUs advises installing kernels that nothing needs
    logging.getLogger("bitsandbytes.backends").setLevel(logging.ERROR)
    # imports torch and transformers
    run_command = getattr(import_module(f"ia2.cli.{RUNNERS[name][0]}"), RUNNERS[name][1])
    return int(run_command(options) or 0)


def _options(name: str, settings: dict[str, Any]) -> Any:
    """Return the command's options as its dataclass, which refuses contradictory ones."""
    options = dict(settings)
    if name == "adapt":
        options["sizes"] = _sizes(options)
    return COMMANDS[name](**{key: tuple(value) if isinstance(value, list) else value for key, value in options.items()})
