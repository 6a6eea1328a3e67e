"""One prefill shared by many queries: the demonstrations are read once, and every query is read behind them.

What is kept of them are keys and values, and the state of layers that have one, of which each row gets a copy.
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
    """What a network keeps of tokens that many prompts begin with; read-only."""

    tokens: tuple[int, ...]
    memory: Cache | None
    """What each layer keeps of them, in one row; None where there are no tokens."""

    @property
    def states(self) -> Sequence[tuple[Float[Tensor, "1 _heads length _keys"], Float[Tensor, "1 _heads length _size"]]]:
        """Keys and values of each layer of a network that has no other memory; its heads needn't be its neighbours'."""
        return () if self.memory is None else tuple((layer.keys, layer.values) for layer in self.memory.layers)

    def cache(self, rows: int) -> Cache | None:
        """A fresh cache that begins with this prefix in each of `rows` rows; None where there is no prefix."""
        if self.memory is None:
            return None
        cache = copy.deepcopy(self.memory)
        cache.reorder_cache(torch.zeros(rows, dtype=torch.long))
        return cache


NO_PREFILL = Prefill((), None)


@torch.no_grad()
def prefill(network: PreTrainedModel, tokens: Sequence[int]) -> Prefill:
    """Read the tokens once and keep what every layer keeps of them.

    Args:
        network: a causal language model.
        tokens: the prefix, the BOS token included where there is one; may be empty.
    """
    if not tokens:
        return NO_PREFILL
    cache = empty_cache(network)
    ids = on_device([list(tokens)], network.device)
    # without a mask of ours, attention knows that it is causal, and needs half the time
    with last_feed_forward_at(network, None):
        network.base_model(input_ids=ids, cache=cache, use_cache=True)
    return Prefill(tuple(tokens), cache)
