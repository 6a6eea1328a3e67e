"""How a long computation tells where it is, without knowing whether anybody watches."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Progress(Protocol):
    """Somebody to tell: the command line shows bars and sentences, the default listens and says nothing."""

    def phase(self, name: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Announce a phase of `total` rows or steps; what it yields is called with how many are newly done."""
        ...

    def say(self, sentence: str) -> None:
        """Tell the person something they should know: a choice made for them, a file made anew."""
        ...


class Silent:
    """Listens and shows nothing."""

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Count for nobody."""
        yield lambda done: None

    def say(self, sentence: str) -> None:
        """Say nothing."""


SILENT = Silent()
