"""A cache whose rows are slots: each holds one response's keys and values, and is given to another when that ends.

transformers' own joins old and new keys for every token, which makes a copy of all of them, nearly half of the time of
decoding a long response on a CPU. Here there is room behind each row's tokens, and a token is written at its row's own
place, so that rows of different lengths have no padding between their prompt and their response.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import DynamicLayer

ROOM = 64
"""Tokens that there is room for when rows have to be moved."""


class SlotLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values, each (slots, heads, room, size). For use without gradients."""

    def __init__(self, keys: Tensor, values: Tensor, room: int) -> None:
        super().__init__()
        self.lazy_initialization(keys, values)
        self.states = [_widened(keys, room), _widened(values, room)]
        self.written_at: tuple[Int[Tensor, " slots"], Int[Tensor, " slots"]] | None = None
        """Which slots there are, and the column at which the next token of each is written."""
        self.width = 0
        """How many columns are read."""

    def update(
        self, key_states: Tensor, value_states: Tensor, *_arguments: object, **_keywords: object
    ) -> tuple[Tensor, Tensor]:
        """Add a token to each slot, (slots, heads, 1, size), and give all columns that are read."""
        assert self.written_at is not None, "SlotCache.next_token says where it is written"
        slots, columns = (numbers.to(key_states.device) for numbers in self.written_at)
        for states, new in zip(self.states, (key_states, value_states), strict=True):
            states[slots, :, columns] = new[:, :, 0]
        self.keys, self.values = (states[:, :, : self.width] for states in self.states)
        return self.keys, self.values

    def get_seq_length(self) -> int:
        """How many tokens stand before those that are read next, in the longest slot."""
        return max(0, self.width - 1)


class SlotCache(Cache):  # type: ignore[misc]
    """Keys and values of a network's layers, a slot for each response that is being written.

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
        """Begin with what another cache holds.

        Args:
            read: keys and values of prompts, each from the first column of its row.
            room: how many columns there are to be at the least.
        """
        super().__init__(layers=[SlotLayer(layer.keys, layer.values, room) for layer in read.layers])

    @property
    def room(self) -> int:
        """How many columns there are."""
        return int(self.layers[0].states[0].shape[2])

    def next_token(self, columns: Int[Tensor, " slots"], width: int) -> None:
        """Say where the next token of each slot is written.

        Args:
            columns: the column for each slot.
            width: how many columns are read, that one counted; more are made where there aren't as many.
        """
        slots = torch.arange(len(columns), device=columns.device)
        if width > self.room:
            self.widen(width + ROOM)
        for layer in self.layers:
            layer.written_at, layer.width = (slots, columns), width

    def widen(self, room: int) -> None:
        """Make room for as many columns."""
        for layer in self.layers:
            layer.states = [_widened(states, room) for states in layer.states]

    def refill(self, row_of_slot: Mapping[int, int], read: Cache) -> None:
        """Give slots to others.

        Args:
            row_of_slot: which row of the other cache each slot gets.
            read: keys and values of prompts, each from the first column of its row.
        """
        width = read.get_seq_length()
        if width > self.room:
            self.widen(width + ROOM)
        for layer, other in zip(self.layers, read.layers, strict=True):
            for states, new in zip(layer.states, (other.keys, other.values), strict=True):
                for slot, row in row_of_slot.items():
                    states[slot, :, :width] = new[row]
                    # as in `_widened`: what stood there may be no number, and is multiplied by nothing
                    states[slot, :, width:] = 0

    def keep(self, slots: Int[Tensor, " staying"]) -> None:
        """Go on with these slots only, in this order."""
        for layer in self.layers:
            layer.states = [states.index_select(0, slots.to(states.device)) for states in layer.states]


def _widened(states: Tensor, room: int) -> Tensor:
    """Keys or values, (slots, heads, columns, size), with room for as many columns; what is new holds nothing yet."""
    columns = states.shape[2]
    # zeros, since what is masked is multiplied by nothing, and nothing times NaN would still be NaN
    wide = states.new_zeros(*states.shape[:2], max(room, columns), states.shape[3])
    wide[:, :, :columns] = states
    return wide
