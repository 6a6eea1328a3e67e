"""Renders chat templates, which are untrusted programs, in a separate process with limited time and memory.

A single operation of a template, such as `{{ 'x' * 10**10 }}`, can use all memory or run for hours, and Python can't
interrupt it. The operating system can end a process.
"""

import atexit
import json
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

MOST_MEMORY = 512 * 2**20
"""Memory limit of the process in bytes, including libraries; a conversation takes about its own size."""
MOST_ADDED, MOST_TIMES = 2**20, 10
"""Limit of a template's output: MOST_TIMES the turns' characters plus MOST_ADDED; common ones add a few thousand."""
_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[2]); "
    "from ia2.prompting.rendering import serve; serve(int(sys.argv[1]))"
)


class TemplateError(Exception):
    """An error raised by a template."""


class UnboundedTemplateError(Exception):
    """Raised if a template exceeds its limit of time, memory or output; the message completes `this template …`."""


def rendered(
    template: str, turns: Sequence[Mapping[str, str]], variables: Mapping[str, Any], *, seconds: int | float
) -> str:
    """Return a conversation rendered as by transformers, in a process that is reused, and ended if it exceeds a limit.

    Args:
        template: a chat template, in Jinja.
        turns: the turns, each with its role and content.
        variables: the template's other variables, as JSON values.
        seconds: time limit for rendering.

    Raises:
        TemplateError: the template raised an error.
        UnboundedTemplateError: the template exceeded its limit of time, memory or output.

    Example:
        >>> rendered("{{ messages[0].content * 2 }}", [{"role": "user", "content": "ab"}], {}, seconds=5)
        'abab'
    """
    request = {"template": template, "turns": list(turns), "variables": dict(variables), "seconds": seconds}
    with _LOCK:
        return _renderer().ask(request)


class _Renderer:
    """The rendering process, and our end of the pipe to it."""

    def __init__(self) -> None:
        self.owner = os.getpid()
        self.pipe, theirs = Pipe()
        # import modules from this process's paths, and (-P) never from the working directory
        paths = [str(Path(path).absolute()) for path in sys.path]
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno()), json.dumps(paths)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
        theirs.close()
        try:
            self.pipe.recv_bytes()
        except EOFError as error:
            self.end()
            raise RuntimeError(
                f"The process that renders chat templates ended when it started, with status {self.process.returncode}."
            ) from error
        except BaseException:
            self.end()
            raise

    @property
    def usable(self) -> bool:
        """Return whether the process can be used; a fork of the process that started it can't."""
        return self.owner == os.getpid() and self.process.poll() is None

    def ask(self, request: Mapping[str, Any]) -> str:
        """Return the text of a conversation. Raises as `rendered`."""
        try:
            self.pipe.send_bytes(json.dumps(request).encode())
            answer = json.loads(self.pipe.recv_bytes())
        except (EOFError, ConnectionError) as error:
            self.end()
            late = self.process.returncode == -signal.SIGALRM
            raise UnboundedTemplateError(
                f"doesn't end within {request['seconds']:g} seconds" if late else "breaks the process that renders it"
            ) from error
        except BaseException:  # a late answer would be taken for the next one
            self.end()
            raise
        if answer["unbounded"]:
            self.end()
            raise UnboundedTemplateError(answer["unbounded"])
        if answer["error"]:
            raise TemplateError(answer["error"])
        text: str = answer["text"]
        return text

    def end(self) -> None:
        """End the process and wait for it."""
        self.pipe.close()
        if self.owner == os.getpid():
            self.process.kill()
            self.process.wait()


_LOCK = threading.RLock()
_running: list[_Renderer] = []


def _renderer() -> _Renderer:
    """Return the rendering process, and start it if none is usable."""
    if not _running or not _running[0].usable:
        _end_all()
        _running.append(_Renderer())
    return _running[0]


@atexit.register
def _end_all() -> None:
    while _running:
        _running.pop().end()


def serve(descriptor: int) -> None:
    """Run the rendering process: answer requests until the pipe is closed.

    Args:
        descriptor: file descriptor of the process's end of the pipe.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    # only the main command handles interrupts
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(ValueError, OSError):  # the limit is already lower
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    pipe = Connection(descriptor)
    pipe.send_bytes(b"ready")
    with suppress(EOFError, ConnectionError):
        while True:
            asked = json.loads(pipe.recv_bytes())
            # without a handler this signal ends the process, whatever it is doing
            signal.setitimer(signal.ITIMER_REAL, asked["seconds"])
            answer = _answer(render_jinja_template, asked)
            signal.setitimer(signal.ITIMER_REAL, 0)
            pipe.send_bytes(json.dumps(answer).encode())


def _answer(render: Any, asked: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the text of a conversation, or the error."""
    unbounded = f"takes over {MOST_MEMORY // 2**20} MiB of memory"
    try:
        texts, _ = render(conversations=[asked["turns"]], chat_template=asked["template"], **asked["variables"])
        most = MOST_ADDED + MOST_TIMES * sum(len(turn["content"]) for turn in asked["turns"])
        if len(texts[0]) <= most:
            return {"text": texts[0], "error": None, "unbounded": None}
        unbounded = f"writes {len(texts[0])} characters, where at most {most} make sense"
    except MemoryError:
        pass
    except Exception as error:  # templates are programs, which may fail in any way
        reason = (str(error)[:1000].splitlines() or [type(error).__name__])[0]
        return {"text": None, "error": reason, "unbounded": None}
    return {"text": None, "error": None, "unbounded": unbounded}
