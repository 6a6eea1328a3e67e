import subprocess
import sys
from contextlib import contextmanager

import pytest

from ia2 import locks
from ia2.errors import InputError
from ia2.inference.journal import journal_of
from ia2.inference.predict import Answer

ANSWERS = [Answer("good", 0.75, {"good": 0.75, "bad": 0.25}), Answer("a whole\nresponse – ü")]
HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""
"""A process that holds a file's lock until it is killed, or its input ends."""


def answered(out, answers=(), answers_what="abc"):
    """What a run finds answered, which writes some more."""
    with journal_of(out) as journal:
        journal.go_on(answers_what)
        found = list(journal.answers)
        journal.add(answers)
        assert journal.answers == [*found, *answers]
    return found


def path_of(out):
    return out.with_name(f".{out.name}.answers.jsonl")


def test_answers_are_there_again_and_more_follow(tmp_path):
    out = tmp_path / "out.csv"
    assert answered(out, ANSWERS[:1]) == []
    assert answered(out, ANSWERS[1:]) == ANSWERS[:1]
    with journal_of(out) as journal:
        journal.go_on("abc")
        assert journal.answers == ANSWERS
        journal.delete()
    assert list(tmp_path.iterdir()) == []


def test_the_outputs_folder_is_made(tmp_path):
    out = tmp_path / "new" / "answers" / "out.csv"
    answered(out, ANSWERS)
    assert answered(out) == ANSWERS


@pytest.mark.parametrize("lost", range(1, 40))
def test_what_was_cut_short_is_answered_again(tmp_path, lost):
    out = tmp_path / "out.csv"
    answered(out, ANSWERS)
    path_of(out).write_bytes(path_of(out).read_bytes()[:-lost])
    assert answered(out, ANSWERS[1:]) == ANSWERS[:1]
    assert answered(out) == ANSWERS


def test_one_whose_head_was_cut_short_begins_anew(tmp_path):
    out = tmp_path / "out.csv"
    path_of(out).write_text('{"ans')
    assert answered(out, ANSWERS) == []
    assert answered(out) == ANSWERS


def test_answers_to_something_else_and_damaged_ones_are_refused(tmp_path):
    out = tmp_path / "out.csv"
    answered(out, ANSWERS)
    before = path_of(out).read_bytes()
    with pytest.raises(InputError, match=r"answers\.jsonl: this holds the answers of a different run for .*out\.csv"):
        answered(out, answers_what="abd")
    assert path_of(out).read_bytes() == before
    path_of(out).write_bytes(before + b'{"prediction": 3, "colour": 1}\n')
    with pytest.raises(InputError, match="this file is damaged"):
        answered(out)


@contextmanager
def another_process_at(out):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path_of(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_of_two_processes_one_answers_and_the_other_is_told(tmp_path):
    out = tmp_path / "out.csv"
    answered(out, ANSWERS[:1])
    before = path_of(out).read_bytes()
    with another_process_at(out) as process:
        with pytest.raises(InputError, match=r"out\.csv: another ia2 predict is writing this\. Wait for it, or name"):
            answered(out, ANSWERS[1:])
        assert path_of(out).read_bytes() == before
        process.kill()
        process.wait()
        # the lock goes with the process, however it ends
        assert answered(out, ANSWERS[1:]) == ANSWERS[:1]


def test_nothing_is_left_of_a_run_that_answered_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), journal_of(tmp_path / "out.csv"):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_journal_that_ended_while_its_lock_was_waited_for_is_not_gone_on_with(tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    answered(out, ANSWERS)
    earlier = path_of(out).stat().st_ino
    flock = locks.fcntl.flock

    def flock_of_what_is_taken_away(file, operation):
        monkeypatch.setattr(locks.fcntl, "flock", flock)
        path_of(out).rename(tmp_path / "kept")  # so that its number isn't used again
        flock(file, operation)

    monkeypatch.setattr(locks.fcntl, "flock", flock_of_what_is_taken_away)
    assert answered(out, ANSWERS[:1]) == []
    assert path_of(out).stat().st_ino != earlier
    assert answered(out) == ANSWERS[:1]
