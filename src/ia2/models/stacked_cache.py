"""Adding rows to a cache, and removing rows from it.

Keys and values are aligned on the right: the last column holds every row's last token. A row that has read fewer tokens
than others has empty columns on the left, which the network must mask. Recurrent states have no columns, so rows of any
length can be stacked.
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
"""Cache layers whose contents are fully known; a model family's own class may keep something else as well."""


def holds_states(cache: Cache) -> bool:
    """Return whether a filled cache holds all recurrent states; RecurrentGemma keeps them in its modules instead."""
    layers = [layer for layer in cache.layers if isinstance(layer, LinearAttentionCacheLayerMixin)]
    return all(_kept(layer.conv_states) or _kept(layer.recurrent_states) for layer in layers)


def stacks(cache: Cache) -> bool:
    """Return whether rows can be added to a filled cache: all contents of each layer must be known."""
    return holds_states(cache) and all(type(layer) in KNOWN for layer in cache.layers)


def has_columns(cache: Cache) -> bool:
    """Return whether a layer keeps keys and values, so that rows of different lengths need padding columns."""
    return any(isinstance(layer, CacheLayerMixin) for layer in cache.layers)


@torch.no_grad()
def stack(cache: Cache, other: Cache) -> None:
    """Append the rows of another cache to this one.

    Args:
        cache: extended in place; `stacks` must be true of it.
        other: a cache filled by the same network.

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
    """Keep only some of a cache's rows, in this order.

    Args:
        cache: changed in place; layers of any class, but the cache must hold all states (`holds_states`).
        rows: indices of the rows to keep.
        width: number of tokens that the longest of them has read; empty columns before those are dropped.
    """
    cache.reorder_cache(torch.tensor(rows))
    if not stacks(cache):
        return  # no rows were ever added to it, so it has no empty columns
    for layer in cache.layers:
        if isinstance(layer, DynamicLayer) and layer.is_initialized:
            layer.keys, layer.values = (states[:, :, -width:] for states in (layer.keys, layer.values))
        if isinstance(layer, DynamicSlidingWindowLayer):
            layer.cumulative_length = width


def _beneath(states: Tensor, new: Tensor) -> Tensor:
    """Concatenate the rows of keys or values, (rows, heads, columns, size), left-padded with zeros to equal width."""
    width = max(states.shape[2], new.shape[2])
    return torch.cat([pad(part, (0, 0, width - part.shape[2], 0)) for part in (states, new)])


def _kept(states: dict[int, Tensor | None]) -> list[tuple[int, Tensor]]:
    return [(number, state) for number, state in states.items() if state is not None]
