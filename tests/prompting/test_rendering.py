import contextlib
import os
import signal
import threading
import time

import psutil
import pytest

from ia2.prompting import rendering
from ia2.prompting.rendering import MOST_ADDED, MOST_MEMORY, TemplateError, UnboundedTemplateError, rendered

TURNS = [{"role": "user", "content": "a \ud800 → 🙂 \n fine <|film|>\0"}]
PLAIN = "{{ bos }}{% for turn in messages %}{{ turn.role }}: {{ turn.content }}{% endfor %}"


def test_a_text_comes_as_it_was_written():
    assert rendered(PLAIN, TURNS, {"bos": "<s>"}, seconds=30) == f"<s>user: {TURNS[0]['content']}"


def test_one_process_renders_everything_and_another_one_after_it_was_ended():
    rendered(PLAIN, TURNS, {}, seconds=30)
    first = rendering._running[0].process.pid
    with pytest.raises(TemplateError, match="division by zero"):
        rendered("{{ 1 / 0 }}", TURNS, {}, seconds=30)
    rendered(PLAIN, TURNS, {}, seconds=30)
    assert rendering._running[0].process.pid == first
    os.kill(first, signal.SIGKILL)
    rendering._running[0].process.wait()
    rendered(PLAIN, TURNS, {}, seconds=30)
    assert rendering._running[0].process.pid != first
    assert not psutil.pid_exists(first)


@pytest.mark.parametrize(
    "template",
    [
        "{{ 'x' * 10**10 }}",
        "{{ 'x' | center(10**10) }}",
        "{{ '%010000000000d' % 1 }}",
        "{{ 'xx'.replace('x', 'y' * 10**9) }}",
        "{{ (255).to_bytes(10**10, 'big') }}",
        "{% set a = namespace(text='x') %}{% for i in range(99) %}{% set a.text = a.text ~ a.text %}{% endfor %}",
    ],
)
def test_memory_is_bounded(template):
    with pytest.raises(UnboundedTemplateError, match=f"takes over {MOST_MEMORY // 2**20} MiB of memory"):
        rendered(template, TURNS, {}, seconds=60)
    assert not rendering._running[0].usable


def test_what_it_takes_is_no_more_than_it_may():
    rendered(PLAIN, TURNS, {}, seconds=30)
    process, peak, over = psutil.Process(rendering._running[0].process.pid), [0], threading.Event()

    def watch():
        while not over.wait(0.005):
            with contextlib.suppress(psutil.NoSuchProcess):
                peak[0] = max(peak[0], process.memory_info().rss)

    watching = threading.Thread(target=watch)
    watching.start()
    loop = "{% for i in range(99999) %}{% set a.l = a.l + [('x' ~ i) * 99999] %}{% endfor %}"
    with pytest.raises(UnboundedTemplateError):
        rendered("{% set a = namespace(l=[]) %}" + loop, TURNS, {}, seconds=60)
    over.set()
    watching.join()
    assert 2**25 < peak[0] < 1.2 * MOST_MEMORY


@pytest.mark.parametrize(
    "template",
    ["{{ 9 ** (9 ** 9) }}", "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"],
)
def test_time_is_bounded_in_every_thread(template):
    rendered(PLAIN, TURNS, {}, seconds=30)
    raised = []

    def run():
        with pytest.raises(UnboundedTemplateError, match=r"doesn't end within 0\.3 seconds") as caught:
            rendered(template, TURNS, {}, seconds=0.3)
        raised.append(caught)

    begun = time.monotonic()
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert len(raised) == 1
    assert time.monotonic() - begun < 60


def test_a_text_is_bounded_by_what_the_turns_say():
    long = [{"role": "user", "content": "x" * MOST_ADDED}]
    template = "{% for i in range(10) %}{{ messages[0].content }}{% endfor %}"
    assert len(rendered(template, long, {}, seconds=30)) == 10 * MOST_ADDED
    with pytest.raises(UnboundedTemplateError, match=f"writes {10 * 2**20} characters, where at most 1048736 make"):
        rendered("{{ 'x' * (10 * 2**20) }}", [{"role": "user", "content": "x" * 16}], {}, seconds=30)


def test_a_template_that_ends_the_process_ends_no_other():
    rendered(PLAIN, TURNS, {}, seconds=30)
    renderer, ask = rendering._running[0], rendering._Renderer.ask

    with pytest.raises(UnboundedTemplateError, match="breaks the process that renders it"):
        os.kill(renderer.process.pid, signal.SIGSEGV)
        ask(renderer, {"seconds": 5})


def test_an_answer_nobody_waited_for_is_never_taken_for_the_next(monkeypatch):
    rendered(PLAIN, TURNS, {}, seconds=30)
    renderer = rendering._running[0]

    def interrupted(_maximum=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(renderer.pipe, "recv_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rendered("{{ 1 }}", TURNS, {}, seconds=30)
    assert rendered("{{ 2 }}", TURNS, {}, seconds=30) == "2"


def test_a_fork_starts_a_process_of_its_own():
    rendered(PLAIN, TURNS, {}, seconds=30)
    mine = rendering._running[0]
    mine.owner += 1  # as after a fork
    try:
        assert not mine.usable
    finally:
        mine.owner -= 1
    assert mine.usable


def test_a_process_that_cannot_start_is_said(monkeypatch):
    monkeypatch.setattr(rendering, "_PROGRAM", "import sys; sys.exit(3)")
    with pytest.raises(RuntimeError, match="ended when it started, with status 3"):
        rendering._Renderer()
