import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import DynamicCache

from ia2.models.preallocated_cache import ROOM, growing

STEPS = st.lists(st.one_of(st.integers(1, 3), st.just(ROOM + 5), st.just("select")), min_size=1, max_size=8)


@given(steps=STEPS, seed=st.integers(0, 9))
def test_keys_and_values_are_those_of_transformers_own_cache(steps, seed):
    generator = torch.Generator().manual_seed(seed)
    theirs, rows = DynamicCache(), 4
    for layer in range(2):
        theirs.update(*torch.randn(2, rows, 3, 2, 5, generator=generator), layer)
    ours = growing(theirs)
    for step in steps:
        if step == "select":
            kept = torch.randperm(rows, generator=generator)[: max(1, rows - 1)]
            rows = len(kept)
            ours.batch_select_indices(kept)
            theirs.batch_select_indices(kept)
            continue
        for layer in range(2):
            keys, values = torch.randn(2, rows, 3, step, 5, generator=generator)
            for mine, other in zip(ours.update(keys, values, layer), theirs.update(keys, values, layer), strict=True):
                assert torch.equal(mine, other)
        assert ours.get_seq_length() == theirs.get_seq_length()


def test_a_token_moves_nothing_that_was_there():
    cache = growing()
    cache.update(*torch.zeros(2, 1, 1, 3, 4), 0)
    place = cache.layers[0].keys.data_ptr()
    for _ in range(ROOM):
        cache.update(*torch.zeros(2, 1, 1, 1, 4), 0)
    assert cache.layers[0].keys.data_ptr() == place
    assert cache.get_seq_length() == 3 + ROOM
