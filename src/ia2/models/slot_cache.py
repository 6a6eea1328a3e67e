"""A key-value cache with one slot per response; a slot is reused when its response ends.

transformers' cache concatenates old and new keys at every token, which copies all of them: nearly half of the time to
decode a long response on a CPU. Here each row has spare columns, and a token is written at its own row's next column.
So rows of different lengths need no padding between prompt and response.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""Spare columns to allocate whenever rows have to be copied."""


class SlotLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, each (slots, heads, room, size). Not for use with gradients."""

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.states = [_widened(keys, room), _widened(values, room)]
        self.written_at: tuple[Int[Tensor, " slots"], Int[Tensor, " slots"]] | None = None
        """The slot indices, and the column at which each slot's next token is written."""
        self.width = 0
        """Number of columns that attention reads."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_arguments: object, **_keywords: object
    ) -> tuple[Tensor, Tensor]:
        """Write one token to each slot, (slots, heads, 1, size), and return `width` columns of keys and values."""
        assert self.written_at is not None, "SlotCache.next_token says where it is written"
        slots, columns = (numbers.to(key_states.device) for numbers in self.written_at)
        for states, new in zip(self.states, (key_states, value_states), strict=True):
            states[slots, :, columns] = new[:, :, 0]
        self.keys, self.values = (states[:, :, : self.width] for states in self.states)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """Return the number of tokens before the next one, in the longest slot."""
        return max(0, self.width - 1)


class SlotCache(Cache):  # type: ignore[misc]
    """Keys and values of all layers, with a slot for each response being decoded.

    Example:
        >>> from transformers import DynamicCache
        >>> read = DynamicCache()
        >>> _ = read.update(torch.zeros(2, 1, 3, 4), torch.zeros(2, 1, 3, 4), 0)
        >>> slots = SlotCache(read, room=8)
        >>> slots.next_token(torch.tensor([3, 2]), width=4)
        >>> keys, _ = slots.update(torch.ones(2, 1, 1, 4), torch.ones(2, 1, 1, 4), 0)
        >>> keys[:, 0, :, 0].tolist()
        [[0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0]]
    """

    def __init__(self, read: Cache, room: int) -> None:
        """Start from the cache of a prefill.

        Args:
            read: keys and values of prompts, right-padded: each row starts at column 0.
            room: minimum number of columns.
        """
        super().__init__(layers=[SlotLayer(layer.keys, layer.values, room) for layer in read.layers])

    @property
    def room(self) -> int:
        """Return the number of allocated columns."""
        return int(self.layers[0].states[0].shape[2])

    def next_token(self, columns: Int[Tensor, " slots"], width: int) -> None:
        """Set the column at which each slot's next token is written.

        Args:
            columns: the column for each slot.
            width: number of columns to read, including the new one; the cache grows if it has fewer.
        """
        slots = torch.arange(len(columns), device=columns.device)
        if width > self.room:
            self.widen(width + ROOM)
        for layer in self.layers:
            layer.written_at, layer.width = (slots, columns), width

    def widen(self, room: int) -> None:
        """Grow the cache to at least `room` columns."""
        for layer in self.layers:
            layer.states = [_widened(states, room) for states in layer.states]

    def refill(self, row_of_slot: Mapping[int, int], read: Cache) -> None:
        """Replace the contents of some slots with new prompts.

        Args:
            row_of_slot: for each slot to replace, the row of the other cache to copy.
            read: keys and values of prompts, right-padded: each row starts at column 0.
        """
        width = read.get_seq_length()
        if width > self.room:
            self.widen(width + ROOM)
        for layer, other in zip(self.layers, read.layers, strict=True):
            for states, new in zip(layer.states, (other.keys, other.values), strict=True):
                for slot, row in row_of_slot.items():
                    states[slot, :, :width] = new[row]
                    # zeroed as in `_widened`: masked values are multiplied by 0, and 0 · NaN is NaN
                    states[slot, :, width:] = 0

    def keep(self, slots: Int[Tensor, " staying"]) -> None:
        """Keep only these slots, in this order."""
        for layer in self.layers:
            layer.states = [states.index_select(0, slots.to(states.device)) for states in layer.states]


def _widened(states: Tensor, room: int) -> Tensor:
    """Return keys or values, (slots, heads, columns, size), zero-padded on the right to at least `room` columns."""
    columns = states.shape[2]
    # not left uninitialised: masked values are multiplied by 0, and 0 · NaN is NaN
    wide = states.new_zeros(*states.shape[:2], max(room, columns), states.shape[3])
    wide[:, :, :columns] = states
    return wide
