import pytest

from ia2.errors import InputError
from ia2.inference.journal import Journal
from ia2.inference.predict import Answer

ANSWERS = [Answer("good", 0.75, {"good": 0.75, "bad": 0.25}), Answer("a whole\nresponse – ü")]


def test_answers_are_there_again_and_more_follow(tmp_path):
    out = tmp_path / "out.csv"
    assert Journal(out, "abc").answers == []
    Journal(out, "abc").add(ANSWERS[:1])
    journal = Journal(out, "abc")
    assert journal.answers == ANSWERS[:1]
    journal.add(ANSWERS[1:])
    assert Journal(out, "abc").answers == journal.answers == ANSWERS
    journal.delete()
    assert list(tmp_path.iterdir()) == []


def test_the_outputs_folder_is_made(tmp_path):
    out = tmp_path / "new" / "answers" / "out.csv"
    Journal(out, "abc").add(ANSWERS)
    assert Journal(out, "abc").answers == ANSWERS


@pytest.mark.parametrize("lost", range(1, 40))
def test_what_was_cut_short_is_answered_again(tmp_path, lost):
    out = tmp_path / "out.csv"
    Journal(out, "abc").add(ANSWERS)
    path = Journal(out, "abc").path
    path.write_bytes(path.read_bytes()[:-lost])
    assert Journal(out, "abc").answers == ANSWERS[:1]
    Journal(out, "abc").add(ANSWERS[1:])
    assert Journal(out, "abc").answers == ANSWERS


def test_one_whose_head_was_cut_short_begins_anew(tmp_path):
    out = tmp_path / "out.csv"
    journal = Journal(out, "abc")
    journal.path.write_text('{"ans')
    journal = Journal(out, "abc")
    assert journal.answers == []
    journal.add(ANSWERS)
    assert Journal(out, "abc").answers == ANSWERS


def test_answers_to_something_else_and_damaged_ones_are_refused(tmp_path):
    out = tmp_path / "out.csv"
    journal = Journal(out, "abc")
    journal.add(ANSWERS)
    before = journal.path.read_bytes()
    with pytest.raises(InputError, match=r"answers\.jsonl: this holds the answers of a different run for .*out\.csv"):
        Journal(out, "abd")
    assert journal.path.read_bytes() == before
    journal.path.write_bytes(before + b'{"prediction": 3, "colour": 1}\n')
    with pytest.raises(InputError, match="this file is damaged"):
        Journal(out, "abc")


def test_two_runs_at_once_do_not_mix_their_answers(tmp_path):
    out = tmp_path / "out.csv"
    ours, other = Journal(out, "abc"), Journal(out, "abc")
    other.add(ANSWERS[:1])
    with pytest.raises(InputError, match=r"answers\.jsonl: another run"):
        ours.add(ANSWERS[:1])
    other.add(ANSWERS[1:])
    assert Journal(out, "abc").answers == ANSWERS
