"""Progress output on stderr: messages, one bar per phase in a terminal, plain lines elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.text import Text

SECONDS_OF_SILENCE = 30.0
"""Seconds between progress lines of a phase, if there is no terminal."""


class RowsPerSecond(ProgressColumn):
    """Column with the speed of a phase, in rows per second."""

    def render(self, task: Task) -> Text:
        """Return the speed of a bar; empty until it is known."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.1f}/s" if speed else "", style="progress.data.speed")


class ConsoleProgress:
    """Shows progress on stderr, so that results on stdout can be piped."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self.seconds: dict[str, float] = {}
        """Seconds of each phase, summed over repetitions."""

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Callable[[int], None]]:
        """Show a bar with rows per second and time left; without a terminal, print a line at the end."""
        begun = time.perf_counter()
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            RowsPerSecond(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        )
        with Bars(*columns, console=self.console, transient=False, disable=not self.console.is_terminal) as bars:
            bar = bars.add_task(name, total=total)
            with self._told_now_and_then(lambda: f"{name}: {bars.tasks[0].completed:g} of {total}", begun):
                yield lambda done: bars.advance(bar, done)
            # if training stopped early, show the bar as complete
            bars.update(bar, total=bars.tasks[0].completed)
        took = time.perf_counter() - begun
        self.seconds[name] = self.seconds.get(name, 0.0) + took
        if not self.console.is_terminal:
            self.console.print(f"{name}: {bars.tasks[0].completed:g} in {took:.1f} s")

    @contextmanager
    def _told_now_and_then(self, how_far: Callable[[], str], begun: float) -> Iterator[None]:
        """Print a line on the progress every half minute inside the block, if there is no terminal for a bar."""
        over = threading.Event()

        def tell() -> None:
            while not over.wait(SECONDS_OF_SILENCE):
                self.console.print(f"{how_far()} after {time.perf_counter() - begun:.0f} s")

        teller = threading.Thread(target=tell, daemon=True)
        if not self.console.is_terminal:
            teller.start()
        try:
            yield
        finally:
            over.set()
            if teller.is_alive():
                teller.join()

    def say(self, sentence: str) -> None:
        """Print a sentence on a line of its own."""
        self.console.print(sentence, markup=False)


class Results(Console):
    """Console for results. On a broken pipe, rich itself would exit with the status of a failure."""

    def on_broken_pipe(self) -> None:
        """Let the caller handle it. Raises BrokenPipeError."""
        raise BrokenPipeError


def stdout() -> Console:
    """Return the console for results, wide enough for tables even if the output is piped."""
    console = Results(file=sys.stdout, highlight=False)
    return console if console.is_terminal else Results(file=sys.stdout, highlight=False, width=160)
