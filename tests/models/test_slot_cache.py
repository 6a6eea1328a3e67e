import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from ia2.models.slot_cache import ROOM, SlotCache

STEPS = st.lists(st.one_of(st.integers(1, 5), st.sampled_from(["drop", "refill", "many"])), min_size=1, max_size=8)
LAYERS, HEADS, SIZE = 2, 3, 5


def states(generator, rows, tokens):
    """Keys and values of a layer."""
    return torch.randn(2, rows, HEADS, tokens, SIZE, generator=generator)


def read_of(generator, lengths):
    """A cache of prompts of these lengths, each alone as the last axis has it, and all padded in one."""
    alone = [[states(generator, 1, length) for _ in range(LAYERS)] for length in lengths]
    together = DynamicCache()
    for layer in range(LAYERS):
        padded = torch.full((2, len(lengths), HEADS, max(lengths), SIZE), 7.0)
        for row, prompt in enumerate(alone):
            padded[:, row, :, : lengths[row]] = prompt[layer][:, 0]
        together.update(*padded, layer)
    return alone, together


# a case takes up to a hundred and thirty tokens, each looked at
@settings(deadline=None)
@given(steps=STEPS, seed=st.integers(0, 9))
def test_each_slot_holds_its_own_tokens_end_to_end(steps, seed):
    generator = torch.Generator().manual_seed(seed)
    lengths = [2, 4, 1, 3]
    expected, read = read_of(generator, lengths)
    ours = SlotCache(read, room=5)
    for step in steps:
        if step == "drop" and len(expected) > 1:
            staying = sorted(torch.randperm(len(expected), generator=generator)[:-1].tolist())
            ours.keep(torch.tensor(staying))
            expected = [expected[slot] for slot in staying]
        elif step == "refill":
            fresh, read = read_of(generator, [3, ROOM])
            slot = len(expected) - 1
            ours.refill({slot: 1}, read)
            expected[slot] = fresh[1]
        for _ in range(step if isinstance(step, int) else ROOM + 2 if step == "many" else 1):
            columns = [prompt[0].shape[3] for prompt in expected]
            ours.next_token(torch.tensor(columns), width=max(columns) + 1)
            for layer in range(LAYERS):
                new = states(generator, len(expected), 1)
                given_back = ours.update(*new, layer)
                for slot, prompt in enumerate(expected):
                    prompt[layer] = torch.cat([prompt[layer], new[:, slot : slot + 1]], dim=3)
                    for mine, other in zip(given_back, prompt[layer], strict=True):
                        assert torch.equal(mine[slot, :, : columns[slot] + 1], other[0])
            assert ours.get_seq_length() == max(columns)


def test_a_token_moves_nothing_that_was_there():
    _, read = read_of(torch.Generator().manual_seed(0), [3, 2])
    cache = SlotCache(read, room=ROOM)
    place = cache.layers[0].states[0].data_ptr()
    for column in range(3, ROOM):
        cache.next_token(torch.tensor([column, column - 1]), width=column + 1)
        cache.update(*torch.zeros(2, 2, HEADS, 1, SIZE), 0)
    assert cache.layers[0].states[0].data_ptr() == place
    cache.next_token(torch.tensor([ROOM, ROOM - 1]), width=ROOM + 1)
    assert cache.room == 2 * ROOM + 1


def test_a_slot_that_is_given_to_another_keeps_nothing_of_the_one_before():
    # numbers that are none, as an adapter's whose training went wrong, would spoil all that they are multiplied by
    generator = torch.Generator().manual_seed(0)
    _, read = read_of(generator, [6])
    for layer in read.layers:
        layer.keys[:], layer.values[:] = torch.nan, torch.nan
    ours = SlotCache(read, room=9)
    _, shorter = read_of(generator, [3])
    ours.refill({0: 0}, shorter)
    ours.next_token(torch.tensor([3]), width=9)
    for layer in range(LAYERS):
        for states_read in ours.update(*states(generator, 1, 1), layer):
            assert states_read.isfinite().all()
