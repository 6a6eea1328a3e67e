"""A prefill shared by many queries: the demonstrations are processed once, and every query continues from their cache.

The cache holds keys and values, and the state of recurrent layers, of which each row gets a copy.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import Cache, PreTrainedModel

from ia2.models.forward import last_feed_forward_at
from ia2.models.row_forms import empty_cache
from ia2.models.transfer import on_device


@dataclass(frozen=True)
class Prefill:
    """The cache of a prefix common to many prompts; read-only."""

    tokens: tuple[int, ...]
    memory: Cache | None
    """Cache of the prefix, with one row; None if there are no tokens."""

    @property
    def states(self) -> Sequence[tuple[Float[Tensor, "1 _heads length _keys"], Float[Tensor, "1 _heads length _size"]]]:
        """Keys and values of each layer, for networks without recurrent layers; layers may differ in their heads."""
        return () if self.memory is None else tuple((layer.keys, layer.values) for layer in self.memory.layers)

    def cache(self, rows: int) -> Cache | None:
        """Return a new cache with this prefix in each of `rows` rows; None if there is no prefix."""
        if self.memory is None:
            return None
        cache = copy.deepcopy(self.memory)
        cache.reorder_cache(torch.zeros(rows, dtype=torch.long))
        return cache


NO_PREFILL = Prefill((), None)


@torch.no_grad()
def prefill(network: PreTrainedModel, tokens: Sequence[int]) -> Prefill:
    """Compute the cache of a prefix.

    Args:
        network: a causal language model.
        tokens: the prefix, including the BOS token if there is one; may be empty.
    """
    if not tokens:
        return NO_PREFILL
    cache = empty_cache(network)
    ids = on_device([list(tokens)], network.device)
    # with no mask passed, attention uses its causal kernel, which takes half the time
    with last_feed_forward_at(network, None):
        network.base_model(input_ids=ids, cache=cache, use_cache=True)
    return Prefill(tuple(tokens), cache)
