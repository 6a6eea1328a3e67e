"""One prefill shared by many queries: the demonstrations are read once, their keys and values used by every query."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from ia2.models.forward import last_feed_forward_at


@dataclass(frozen=True)
class Prefill:
    """Keys and values of tokens that many prompts begin with; read-only."""

    tokens: tuple[int, ...]
    states: tuple[tuple[Float[Tensor, "1 _heads length _keys"], Float[Tensor, "1 _heads length _values"]], ...]
    """Keys and values of each layer, whose heads needn't be its neighbours'; empty where there are no tokens."""

    def cache(self, rows: int) -> DynamicCache | None:
        """A fresh cache that begins with this prefix in each of `rows` rows; None where there is no prefix."""
        if not self.states:
            return None
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(self.states):
            cache.update(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1), layer)
        return cache


NO_PREFILL = Prefill((), ())


@torch.no_grad()
def prefill(network: PreTrainedModel, tokens: Sequence[int]) -> Prefill:
    """Read the tokens once and keep every layer's keys and values.

    Args:
        network: a causal language model.
        tokens: the prefix, the BOS token included where there is one; may be empty.
    """
    if not tokens:
        return NO_PREFILL
    cache = DynamicCache()
    ids = torch.tensor([list(tokens)], device=network.device)
    # without a mask of ours, attention knows that it is causal, and needs half the time
    with last_feed_forward_at(network, None):
        network.base_model(input_ids=ids, cache=cache, use_cache=True)
    states = tuple((layer.keys, layer.values) for layer in cache.layers)
    return Prefill(tuple(tokens), states)
