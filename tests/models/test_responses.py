import torch

from ia2.models.responses import Limits, Row
from ia2.models.sites import ATTENTION_OUTPUT


def test_what_comes_behind_the_end_is_neither_taken_nor_counted():
    row = Row(0, length=3)
    assert row.take([5, 6, 2, 7], Limits(9, frozenset({2}))) == 3
    assert (row.tokens, row.ending) == ([5, 6], "end")


def test_a_stop_goes_before_the_most_tokens():
    assert Limits(2, stops=lambda tokens: tokens[-1] == 6).ending([5, 6]) == "stop"
    assert Limits(2).ending([5, 6]) == "length"
    assert Limits(3).ending([5, 6]) is None


def test_what_was_recorded_in_parts_is_joined_in_order():
    row = Row(0, length=3)
    row.recorded = [{ATTENTION_OUTPUT: torch.zeros(1, 2, 4)}, {ATTENTION_OUTPUT: torch.ones(2, 2, 4)}]
    row.take([5, 6, 7], Limits(3))
    read = row.finished().activations[ATTENTION_OUTPUT]
    assert read[:, 0, 0].tolist() == [0.0, 1.0, 1.0]
