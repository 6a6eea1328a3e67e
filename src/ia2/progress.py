"""Reporting the progress of long computations, independently of how it is displayed."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Receiver of progress: the command line shows bars and messages, and the default ignores them."""

    def phase(self, name: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Start a phase of `total` rows or steps; the yielded function is called with the number newly done."""
        ...

    def say(self, sentence: str) -> None:
        """Report a message to the user, such as a choice made automatically or a file created again."""
        ...


class Silent:
    """Ignores all progress."""

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Ignore a phase."""
        yield lambda done: None

    def say(self, sentence: str) -> None:
        """Ignore a message."""


SILENT = Silent()
