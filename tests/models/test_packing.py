from itertools import pairwise

import torch
from hypothesis import given
from hypothesis import strategies as st

from ia2.models.layout import lay_out
from ia2.models.packing import by_length, pass_tokens, passes, shared_rows
from ia2.models.sequences import TokenSequence

TOKENS = st.lists(st.integers(1, 99), min_size=1, max_size=12).map(tuple)
# built inside the tests: the run-time type checker draws random numbers, which hypothesis forbids inside a strategy
PAIRS = st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=5)


def built(pairs):
    return [TokenSequence(prompt, response) for prompt, response in pairs]


def test_rows_are_filled_with_what_sequences_have_alone():
    # 20 shared tokens and 5 own ones: one row of 40 has no more tokens than two of 25 with one each
    sequences = [TokenSequence((*range(100, 120), *[token] * 5), (0,)) for token in range(4)]
    rows, _ = shared_rows(sequences, [0] * 4)
    assert rows == [[0, 1, 2, 3]]
    assert lay_out(sequences, rows=rows).input_ids.shape == (1, 40)
    assert lay_out(sequences, share=False).input_ids.numel() == 100


@given(PAIRS, st.integers(1, 12), st.integers(0, 2))
def test_a_batch_has_as_many_tokens_as_are_allowed_or_a_single_sequence(pairs, most, skip):
    sequences = built(pairs)
    skip = min(skip, *(len(prompt) - 1 for prompt, _ in pairs))
    batches = by_length(sequences, max_tokens=most, skip=skip)

    def tokens(indices):
        return sum(len(sequences[index].inputs) - skip for index in indices)

    assert [index for batch in batches for index in batch] == by_length(sequences, len(sequences))[0]
    assert all(len(batch) == 1 or tokens(batch) <= most for batch in batches)
    # and no two neighbours would go into one
    assert all(tokens(one + other[:1]) > most for one, other in pairwise(batches))


def test_a_prefix_takes_room_from_a_pass_but_never_all_of_it():
    cpu = torch.device("cpu")
    assert pass_tokens(cpu, 100) == pass_tokens(cpu) - 100
    assert pass_tokens(cpu, 10**6) == pass_tokens(cpu) // 4
    assert pass_tokens(torch.device("cuda")) > pass_tokens(cpu)


def test_a_pass_has_as_many_sequences_as_were_asked_for_or_as_it_has_room_for():
    cpu, most = torch.device("cpu"), pass_tokens(torch.device("cpu"))
    sequences = of_lengths(*[most // 4] * 8)
    sizes = {
        name: [len(one) for one in found]
        for name, found in {
            "by number": passes(sequences, 3, cpu),
            "by room": passes(sequences, None, cpu),
            "for two adapters": passes(sequences, None, cpu, copies=2),
            "behind a prefix": passes(sequences, None, cpu, skip=most // 8),
        }.items()
    }
    # a prefix takes an eighth of the room, and half of every sequence
    assert sizes == {
        "by number": [3, 3, 2],
        "by room": [4, 4],
        "for two adapters": [2, 2, 2, 2],
        "behind a prefix": [7, 1],
    }


@given(PAIRS, st.integers(1, 4))
def test_batches_by_length_hold_every_sequence_once_in_order_of_length(pairs, batch_size):
    sequences = built(pairs)
    batches = by_length(sequences, batch_size)
    flat = [index for batch in batches for index in batch]
    assert sorted(flat) == list(range(len(sequences)))
    assert max(map(len, batches)) <= batch_size
    lengths = [len(sequences[index].inputs) for index in flat]
    assert lengths == sorted(lengths)


def of_lengths(*lengths):
    """Prompts of these lengths, no two of which begin alike."""
    return [TokenSequence((index, *range(100, 99 + length)), (0,)) for index, length in enumerate(lengths)]


def test_short_sequences_of_a_group_share_a_row_and_groups_never_do():
    rows, groups = shared_rows(of_lengths(10, 12, 9, 30, 8), [1, 0, 1, 0, 1])
    assert groups == [0, 1]
    assert [sorted(row) for row in rows] == [[1, 3], [0, 2, 4]]


def test_rows_are_narrow_where_attention_would_cost_more_than_padding():
    rows, groups = shared_rows(of_lengths(*[2000] * 4), [0] * 4)
    assert rows == [[0], [1], [2], [3]]
    assert groups == [0] * 4
    # no padding at all, and two rows of half the width cost less than one
    rows, _ = shared_rows(of_lengths(900, 100, 500, 500), [0] * 4)
    assert sorted(map(sorted, rows)) == [[0, 1], [2, 3]]


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 3)), min_size=1, max_size=20))
def test_every_sequence_stands_in_one_row_of_its_group(asked):
    sequences = of_lengths(*(length for length, _ in asked))
    rows, groups = shared_rows(sequences, [group for _, group in asked])
    assert sorted(index for row in rows for index in row) == list(range(len(asked)))
    for row, group in zip(rows, groups, strict=True):
        assert {asked[index][1] for index in row} == {group}
    assert groups == sorted(groups)
