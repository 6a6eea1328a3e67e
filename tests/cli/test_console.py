import io
import re
import time

import pytest
from rich.console import Console

from ia2.cli.console import ConsoleProgress
from ia2.progress import SILENT, Progress


def console(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=100, highlight=False, color_system=None)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_phase_ends_in_one_line_that_says_how_much_was_done(terminal):
    progress = ConsoleProgress(console(terminal))
    with progress.phase("evaluate", 8) as advance:
        advance(3)
        advance(5)
    progress.say("[a] sentence with 5 numbers")
    said = progress.console.file.getvalue()
    assert "[a] sentence with 5 numbers\n" in said
    assert ("━" in said) == terminal
    assert ("8/8" in said) == terminal
    assert ("evaluate: 8 in " in said) != terminal


def test_a_phase_that_stops_early_is_over_all_the_same():
    progress = ConsoleProgress(console(terminal=True))
    with progress.phase("train", 100) as advance:
        advance(30)
    assert "30/30" in progress.console.file.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
def test_a_long_phase_says_how_far_it_is_where_there_is_no_terminal(monkeypatch, terminal):
    monkeypatch.setattr("ia2.cli.console.SECONDS_OF_SILENCE", 0.02)
    progress = ConsoleProgress(console(terminal))
    with progress.phase("train", 100) as advance:
        advance(30)
        time.sleep(0.3)  # one long step
    lines = [line for line in progress.console.file.getvalue().splitlines() if line.startswith("train: 30 of 100")]
    assert (len(lines) > 1) == (not terminal)
    assert all(re.fullmatch(r"train: 30 of 100 after \d+ s", line) for line in lines)
    assert terminal or "\x1b" not in progress.console.file.getvalue()


def test_seconds_add_up_over_phases_of_one_name(monkeypatch):
    clock = iter([0.0, 2.0, 10.0, 13.0])
    monkeypatch.setattr("ia2.cli.console.time.perf_counter", lambda: next(clock))
    progress = ConsoleProgress(console(terminal=False))
    for _ in range(2):
        with progress.phase("evaluate", 1):
            pass
    assert progress.seconds == {"evaluate": 5.0}


def test_whoever_listens_can_be_told_the_same():
    for listener in (SILENT, ConsoleProgress(console(terminal=False))):
        assert isinstance(listener, Progress)
        with listener.phase("nothing", 0) as advance:
            advance(0)
