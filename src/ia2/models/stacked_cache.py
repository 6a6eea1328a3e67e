"""Rows of a cache that leave it, and rows of another that join it.

Keys and values stand in columns, the last token of every row in the last one. A row that has read fewer tokens than
others has empty columns before its first token, which the network must be told to leave out. A state has no columns,
so that rows of any length stand beside each other.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers import Cache
from transformers.cache_utils import (
    CacheLayerMixin,
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionCacheLayerMixin,
    LinearAttentionLayer,
)

KNOWN = {
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
}
"""Layers of which it is known what they keep; a family's own may keep something else as well."""


def holds_states(cache: Cache) -> bool:
    """Whether a cache that has been read into holds all states: RecurrentGemma's are in the network's own modules."""
    layers = [layer for layer in cache.layers if isinstance(layer, LinearAttentionCacheLayerMixin)]
    return all(_kept(layer.conv_states) or _kept(layer.recurrent_states) for layer in layers)


def stacks(cache: Cache) -> bool:
    """Whether rows can join a cache that has been read into: whether all that each of its layers keeps is known."""
    return holds_states(cache) and all(type(layer) in KNOWN for layer in cache.layers)


def has_columns(cache: Cache) -> bool:
    """Whether a layer keeps keys and values, so that the columns of rows of different lengths differ."""
    return any(isinstance(layer, CacheLayerMixin) for layer in cache.layers)


@torch.no_grad()
def stack(cache: Cache, other: Cache) -> None:
    """Put the rows of another cache behind those of this one.

    Args:
        cache: it is grown; `stacks` says whether it can be.
        other: read by the same network.

    Example:
        >>> from transformers import DynamicCache
        >>> cache, other = DynamicCache(), DynamicCache()
        >>> _ = cache.update(torch.ones(1, 1, 3, 4), torch.ones(1, 1, 3, 4), 0)
        >>> _ = other.update(torch.ones(1, 1, 2, 4), torch.ones(1, 1, 2, 4), 0)
        >>> stack(cache, other)
        >>> cache.layers[0].keys[:, 0, :, 0].tolist()
        [[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]]
    """
    for layer, added in zip(cache.layers, other.layers, strict=True):
        if isinstance(layer, DynamicLayer) and layer.is_initialized:
            layer.keys = _beneath(layer.keys, added.keys)
            layer.values = _beneath(layer.values, added.values)
        if isinstance(layer, DynamicSlidingWindowLayer):
            layer.cumulative_length = max(layer.cumulative_length, added.cumulative_length)
        if isinstance(layer, LinearAttentionCacheLayerMixin):
            for states, new in (
                (layer.conv_states, added.conv_states),
                (layer.recurrent_states, added.recurrent_states),
            ):
                states.update({number: torch.cat([state, new[number]]) for number, state in _kept(states)})


@torch.no_grad()
def keep_rows(cache: Cache, rows: Sequence[int], width: int) -> None:
    """Go on with some of a cache's rows, in this order.

    Args:
        cache: it is changed; its layers may be of any kind, but it holds all states.
        rows: numbers of the rows that stay.
        width: how many tokens the longest of them has read; columns before them are dropped where they are empty.
    """
    cache.reorder_cache(torch.tensor(rows))
    if not stacks(cache):
        return  # nothing has joined it, so that no column is empty
    for layer in cache.layers:
        if isinstance(layer, DynamicLayer) and layer.is_initialized:
            layer.keys, layer.values = (states[:, :, -width:] for states in (layer.keys, layer.values))
        if isinstance(layer, DynamicSlidingWindowLayer):
            layer.cumulative_length = width


def _beneath(states: Tensor, new: Tensor) -> Tensor:
    """Keys or values, (rows, heads, columns, size), of both; empty columns hold zeros, as `SlotCache`'s do."""
    width = max(states.shape[2], new.shape[2])
    return torch.cat([pad(part, (0, 0, width - part.shape[2], 0)) for part in (states, new)])


def _kept(states: dict[int, Tensor | None]) -> list[tuple[int, Tensor]]:
    return [(number, state) for number, state in states.items() if state is not None]
