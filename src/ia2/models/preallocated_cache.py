"""A cache with room behind its tokens, so that a token that comes is written there and nothing else is moved.

transformers' own joins old and new keys for every token, which makes a copy of all of them: nearly half of the time of
decoding a long response on a CPU.
"""

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""Tokens that there is room for when a layer has to be moved."""


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values: views of as much as is filled of larger tensors. For use without gradients."""

    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._kept: tuple[Tensor, Tensor] | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *_arguments: Any, **_keywords: Any
    ) -> tuple[Tensor, Tensor]:
        """Add tokens, (rows, heads, tokens, size), and give all there are."""
        before = self.get_seq_length()
        length = before + key_states.shape[2]
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if self._kept is None or self._kept[0].shape[2] < length:
            self._kept = (self._moved(0, key_states, before, length), self._moved(1, value_states, before, length))
        for room, new in zip(self._kept, (key_states, value_states), strict=True):
            room[:, :, before:length] = new
        self.keys, self.values = (room[:, :, :length] for room in self._kept)
        return self.keys, self.values

    def _moved(self, which: int, new: Tensor, before: int, length: int) -> Tensor:
        larger = torch.empty(*new.shape[:2], length + ROOM, new.shape[3], dtype=new.dtype, device=new.device)
        if self._kept is not None:
            larger[:, :, :before] = self._kept[which][:, :, :before]
        return larger

    def batch_select_indices(self, indices: Tensor) -> None:
        """Go on with these rows only."""
        if self._kept is not None:
            length = self.get_seq_length()
            self._kept = (self._kept[0][indices], self._kept[1][indices])
            self.keys, self.values = (room[:, :, :length] for room in self._kept)


def growing(cache: Cache | None = None) -> Cache:
    """An empty cache with room, or one with the tokens of another."""
    made = Cache(layer_class_to_replicate=GrowingLayer)
    for layer, states in enumerate(cache.layers if cache is not None else ()):
        made.update(states.keys, states.values, layer)
    return made
