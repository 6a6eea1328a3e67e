"""The row form of a network: packed rows under masks made here, or padded rows under the network's own causal mask.

Packed rows need a network whose attention follows the masks and positions passed to it. If it takes distances from
columns (ALiBi), has recurrent layers, or makes masks of its own, each sequence gets a row padded on the right, and the
network is passed the tokens only: in a causal network, earlier tokens never attend to the padding after them.
"""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from ia2.errors import InputError
from ia2.models.layout import Batch, Layout
from ia2.models.masks import attention_masks, shared_keys


class RowForm(ABC):
    """A way to pass rows to a network. Everything that differs between the ways is a method or attribute here."""

    name: ClassVar[str]
    """Name in records."""
    packs: ClassVar[bool] = False
    """Whether masks are made here, which allows rows of different length in one cache, and virtual tokens."""
    shares_prefix: ClassVar[bool] = True
    """Whether rows can continue a prefilled prefix."""
    caches: ClassVar[bool] = True
    """Whether the network can decode from a cache; otherwise it reads the whole text again for every new token."""

    @abstractmethod
    def layout(self, wanted: Layout) -> Layout:
        """Return the layout to use if a caller asks for `wanted`."""

    @abstractmethod
    def arguments(self, network: PreTrainedModel, batch: Batch, cache: Cache | None) -> dict[str, Any]:
        """Return the network's keyword arguments for a batch, besides its tokens and the cache.

        Args:
            network: a causal language model.
            batch: the batch.
            cache: keys and values of earlier tokens.
        """

    def behind(self, token: Int[Tensor, " rows"], cache: Cache) -> dict[str, Any]:
        """Return the network's keyword arguments for the next token of each row, all rows being of equal length.

        Args:
            token: the next token of each row.
            cache: cache of the tokens before it.
        """
        del token, cache
        return {}


class Packed(RowForm):
    """Sequences share rows, attend to themselves only, and share the computation of their common prefix."""

    name = "packed"
    packs = True

    def layout(self, wanted: Layout) -> Layout:
        """Return `wanted`."""
        return wanted

    def arguments(self, network: PreTrainedModel, batch: Batch, cache: Cache | None) -> dict[str, Any]:
        """Return each token's position in its sequence, and the attention masks."""
        prefix = shared_keys(batch, cache.get_seq_length() if cache is not None else 0)
        masks = attention_masks(network, (batch.owner, batch.position_ids), prefix.followed_by(batch))
        return {"position_ids": batch.position_ids, "attention_mask": masks}


class Padded(RowForm):
    """Each sequence has a row of its own, after the prefix if there is one, with padding on the right."""

    name = "padded"

    def layout(self, wanted: Layout) -> Layout:
        """Return "right", whatever is wanted."""
        del wanted
        return "right"

    def arguments(self, network: PreTrainedModel, batch: Batch, cache: Cache | None) -> dict[str, Any]:
        """Return no arguments: the network counts positions from the row's first token and makes its own masks."""
        del network, batch, cache
        return {}


class PaddedByPosition(Padded):
    """Padded rows with explicit positions, for networks that count from zero again after a cache (Bamba)."""

    name = "padded, by position"

    def arguments(self, network: PreTrainedModel, batch: Batch, cache: Cache | None) -> dict[str, Any]:
        """Return each token's position in its sequence, if there is a prefix."""
        del network
        return {} if cache is None else {"position_ids": batch.position_ids}

    def behind(self, token: Int[Tensor, " rows"], cache: Cache) -> dict[str, Any]:
        """Return the position of each row's token."""
        return {"position_ids": torch.full_like(token, cache.get_seq_length())[:, None]}


class PaddedFromTheStart(Padded):
    """Padded rows without a shared prefix, for networks that can read one token after a cache, but not several."""

    name = "padded, from the start"
    shares_prefix = False


class PaddedWithoutCache(Padded):
    """Padded rows without a cache, for networks that have none, or none in transformers' classes."""

    name = "padded, without a cache"
    shares_prefix = False
    caches = False


PACKED, PADDED, PADDED_BY_POSITION, PADDED_FROM_THE_START, PADDED_WITHOUT_CACHE = (
    Packed(),
    Padded(),
    PaddedByPosition(),
    PaddedFromTheStart(),
    PaddedWithoutCache(),
)
FORMS: dict[str, RowForm] = {
    form.name: form for form in (PACKED, PADDED, PADDED_BY_POSITION, PADDED_FROM_THE_START, PADDED_WITHOUT_CACHE)
}
_ATTRIBUTE, _MIXES = "ia2_row_form", "ia2_mixes_lengths"


def row_form_of(network: PreTrainedModel) -> RowForm:
    """Return the network's row form; packed unless another one was set."""
    return FORMS[vars(network).get(_ATTRIBUTE, PACKED.name)]


def set_row_form(network: PreTrainedModel, form: RowForm, *, mixes_lengths: bool = False) -> None:
    """Set the row form of a network and of later copies of it.

    Args:
        network: a causal language model.
        form: the form of its rows.
        mixes_lengths: see `mixes_lengths`.
    """
    vars(network)[_ATTRIBUTE], vars(network)[_MIXES] = form.name, mixes_lengths


def mixes_lengths(network: PreTrainedModel) -> bool:
    """Return whether padded rows that have read different numbers of tokens can read their next ones in one pass."""
    return bool(vars(network).get(_MIXES, False))


def check_reads_virtual_tokens(network: PreTrainedModel) -> None:
    """Refuse a network whose masks can't account for the virtual tokens cached before every row.

    Raises:
        InputError: the network's rows are padded.
    """
    if not row_form_of(network).packs:
        raise InputError(
            f"{network.config.model_type}: virtual tokens can't stand before this model's texts, as its own attention "
            "masks don't account for them. Use lora, ia3 or vera."
        )


def empty_cache(network: PreTrainedModel) -> DynamicCache:
    """Return an empty cache for the keys and values, or the state, of each of the network's layers."""
    if row_form_of(network).packs:
        return DynamicCache()  # it keeps all keys, since the masks made here apply sliding windows
    return DynamicCache(config=network.config.get_text_config(decoder=True))
