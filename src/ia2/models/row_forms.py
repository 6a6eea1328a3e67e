"""How a network is given the rows of a batch: packed under masks of ours, or padded under its own causal mask.

Packed rows need a network whose attention follows masks and positions that are handed to it. Where distances are taken
from where tokens stand (ALiBi), where layers have a state, and where a network makes masks that it alone knows, each
sequence has a row of its own, padding behind it, and the network is told nothing but the tokens: a causal network's
earlier tokens never see what stands behind them.
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
    """One of the ways to give rows to a network. All that differs between them is asked here."""

    name: ClassVar[str]
    """What a record calls it."""
    packs: ClassVar[bool] = False
    """Whether masks are ours, so that rows of any length stand in one cache, and virtual tokens before them."""
    shares_prefix: ClassVar[bool] = True
    """Whether rows are read behind a prefix that was read beforehand."""
    caches: ClassVar[bool] = True
    """Whether the network reads further from a cache, or must read a text again for every token behind it."""

    @abstractmethod
    def layout(self, wanted: Layout) -> Layout:
        """How sequences are laid out where a caller wants this layout."""

    @abstractmethod
    def arguments(self, network: PreTrainedModel, batch: Batch, cache: Cache | None) -> dict[str, Any]:
        """What the network is told of a batch beside its tokens and the cache.

        Args:
            network: a causal language model.
            batch: what it reads.
            cache: keys and values of earlier tokens.
        """

    def behind(self, token: Int[Tensor, " rows"], cache: Cache) -> dict[str, Any]:
        """What the network is told of one more token of each row, where all rows have read as many.

        Args:
            token: what each row reads.
            cache: what it keeps of the tokens before.
        """
        del token, cache
        return {}


class Packed(RowForm):
    """Sequences share rows, each sees itself alone, and what they begin with is read once."""

    name = "packed"
    packs = True

    def layout(self, wanted: Layout) -> Layout:
        """As it is wanted."""
        return wanted

    def arguments(self, network: PreTrainedModel, batch: Batch, cache: Cache | None) -> dict[str, Any]:
        """Each token's position in its sequence, and which tokens it sees."""
        prefix = shared_keys(batch, cache.get_seq_length() if cache is not None else 0)
        masks = attention_masks(network, (batch.owner, batch.position_ids), prefix.followed_by(batch))
        return {"position_ids": batch.position_ids, "attention_mask": masks}


class Padded(RowForm):
    """Each sequence has a row, from its first token or the end of a prefix on, with padding behind it."""

    name = "padded"

    def layout(self, wanted: Layout) -> Layout:
        """Padded on the right, whatever is wanted."""
        del wanted
        return "right"

    def arguments(self, network: PreTrainedModel, batch: Batch, cache: Cache | None) -> dict[str, Any]:
        """Nothing: positions count from the row's first token, and masks are the network's own."""
        del network, batch, cache
        return {}


class PaddedByPosition(Padded):
    """The same for networks that count positions from zero again behind a cache, so that they are told (Bamba)."""

    name = "padded, by position"

    def arguments(self, network: PreTrainedModel, batch: Batch, cache: Cache | None) -> dict[str, Any]:
        """Each token's position in its sequence, where a prefix stands before it."""
        del network
        return {} if cache is None else {"position_ids": batch.position_ids}

    def behind(self, token: Int[Tensor, " rows"], cache: Cache) -> dict[str, Any]:
        """The position of each row's token."""
        return {"position_ids": torch.full_like(token, cache.get_seq_length())[:, None]}


class PaddedFromTheStart(Padded):
    """The same for networks that read one token behind a cache, and not several."""

    name = "padded, from the start"
    shares_prefix = False


class PaddedWithoutCache(Padded):
    """The same for networks that keep nothing, or what isn't kept in transformers' cache."""

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
    """How this network is given rows; packed where nothing else was chosen."""
    return FORMS[vars(network).get(_ATTRIBUTE, PACKED.name)]


def give_rows(network: PreTrainedModel, form: RowForm, *, mixes_lengths: bool = False) -> None:
    """Choose how a network is given rows from now on; copies of it are given them alike.

    Args:
        network: a causal language model.
        form: how it is given rows.
        mixes_lengths: see `mixes_lengths`.
    """
    vars(network)[_ATTRIBUTE], vars(network)[_MIXES] = form.name, mixes_lengths


def mixes_lengths(network: PreTrainedModel) -> bool:
    """Whether padded rows that have read different numbers of tokens can read their next tokens in one pass."""
    return bool(vars(network).get(_MIXES, False))


def check_reads_virtual_tokens(network: PreTrainedModel) -> None:
    """Refuse adapters of virtual tokens, which stand in a cache before every row, where masks aren't ours.

    Raises:
        InputError: this network's rows are padded.
    """
    if not row_form_of(network).packs:
        raise InputError(
            f"{network.config.model_type}: virtual tokens can't stand before this model's texts, as its own attention "
            "masks don't account for them. Use lora, ia3 or vera."
        )


def empty_cache(network: PreTrainedModel) -> DynamicCache:
    """A cache for what each of the network's layers keeps: keys and values, or a state."""
    if row_form_of(network).packs:
        return DynamicCache()  # all keys: our masks say how far a sliding window reaches
    return DynamicCache(config=network.config.get_text_config(decoder=True))
