import pytest
import torch
from transformers import Cache, DynamicCache
from transformers.cache_utils import DynamicIndexedLayer, DynamicSlidingWindowLayer, LinearAttentionLayer

from benchmarks.shrunken import shrunken_network
from ia2.models.forward import logits_behind_rows
from ia2.models.row_forms import PADDED, empty_cache, set_row_form
from ia2.models.stacked_cache import has_columns, holds_states, keep_rows, stack, stacks

WINDOW = 4


def keys(rows, width, first=1):
    """Keys that count tokens, so that each says which row and which token it is of."""
    numbers = torch.arange(first, first + width, dtype=torch.float32) + 100 * torch.arange(rows)[:, None]
    return numbers[:, None, :, None].expand(rows, 2, width, 3).clone()


def read(layer, rows, width, first=1):
    cache = Cache(layers=[layer])
    cache.update(keys(rows, width, first), -keys(rows, width, first), 0)
    return cache


def test_rows_that_have_read_less_have_empty_columns_before_them():
    cache, other = DynamicCache(), DynamicCache()
    cache.update(keys(1, 2), -keys(1, 2), 0)
    other.update(keys(2, 4), -keys(2, 4), 0)
    stack(cache, other)
    assert cache.layers[0].keys[:, 0, :, 0].tolist() == [[0, 0, 1, 2], [1, 2, 3, 4], [101, 102, 103, 104]]
    assert torch.equal(cache.layers[0].values, -cache.layers[0].keys)
    assert cache.get_seq_length() == 4


def test_columns_that_no_row_fills_are_dropped_with_the_rows_that_leave():
    cache, other = DynamicCache(), DynamicCache()
    cache.update(keys(2, 2), -keys(2, 2), 0)
    other.update(keys(1, 5), -keys(1, 5), 0)
    stack(cache, other)
    keep_rows(cache, [1], 2)
    assert cache.layers[0].keys[:, 0, :, 0].tolist() == [[101, 102]]
    assert torch.equal(cache.layers[0].values, -cache.layers[0].keys)


@pytest.mark.parametrize(("short", "long"), [(2, 3), (2, 9), (5, 9), (9, 2)])
def test_a_sliding_window_goes_on_as_one_that_has_read_the_longest_row(short, long):
    cache = read(DynamicSlidingWindowLayer(WINDOW), 1, short)
    stack(cache, read(DynamicSlidingWindowLayer(WINDOW), 1, long))
    width = max(short, long)
    whole = read(DynamicSlidingWindowLayer(WINDOW), 2, width)
    assert cache.get_seq_length() == width
    assert cache.get_mask_sizes(1, 0) == whole.get_mask_sizes(1, 0)
    assert cache.layers[0].keys.shape == whole.layers[0].keys.shape
    for row, length in enumerate((short, long)):
        columns = min(length, WINDOW - 1)
        expected = [0] * (min(width, WINDOW - 1) - columns) + [*range(length - columns + 1, length + 1)]
        assert cache.layers[0].keys[row, 0, :, 0].tolist() == expected
    keep_rows(cache, [0], short)
    alone = read(DynamicSlidingWindowLayer(WINDOW), 1, short)
    assert cache.get_mask_sizes(1, 0) == alone.get_mask_sizes(1, 0)
    assert torch.equal(cache.layers[0].keys, alone.layers[0].keys)


def test_states_stand_beside_each_other_and_have_no_columns():
    caches = [Cache(layers=[LinearAttentionLayer()]) for _ in range(2)]
    for cache, value in zip(caches, (1.0, 2.0), strict=True):
        cache.update_conv_state(torch.full((1, 3, 4), value), 0)
        cache.update_recurrent_state(torch.full((1, 2, 5), 10 * value), 0)
    stack(*caches)
    keep_rows(caches[0], [1, 0], 7)
    assert not has_columns(caches[0])
    assert caches[0].get_conv_state(0)[:, 0, 0].tolist() == [2, 1]
    assert caches[0].get_recurrent_state(0)[:, 0, 0].tolist() == [20, 10]


def test_what_a_layer_of_another_kind_keeps_is_not_known():
    assert stacks(read(DynamicSlidingWindowLayer(WINDOW), 1, 2))
    assert not stacks(read(DynamicIndexedLayer(), 1, 2))


@pytest.mark.parametrize(("kind", "holds"), [("qwen3_5_text", True), ("mamba", True), ("recurrent_gemma", False)])
def test_a_network_may_hold_its_states_itself(kind, holds):
    network = shrunken_network(kind)
    set_row_form(network, PADDED)
    cache = empty_cache(network)
    with torch.no_grad():
        logits_behind_rows(network, torch.tensor([5]), cache)
    assert holds_states(cache) is stacks(cache) is holds
