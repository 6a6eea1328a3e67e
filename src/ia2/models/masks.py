"""Attention masks that follow from whose tokens stand where, and nothing else."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from ia2.models.gqa_attention import NAME as GROUPED
from ia2.models.layout import SHARED, Batch

WINDOW_IGNORED = {"moshi"}
"""Kinds whose configuration names a sliding window that their attention doesn't have."""


class Keys(NamedTuple):
    """Whose keys stand in a cache, and at which place of their sequence each token was."""

    owner: Int[Tensor, "rows k"]
    """The index of each token's sequence; PADDING where there is none, SHARED in a prefix that all share."""
    position: Int[Tensor, "rows k"]

    def followed_by(self, batch: Batch) -> "Keys":
        """The same with the tokens of a batch behind them."""
        owner = torch.cat([self.owner, batch.owner], dim=1)
        return Keys(owner, torch.cat([self.position, batch.position_ids], dim=1))


def shared_keys(batch: Batch, length: int) -> Keys:
    """The keys of a prefix of this length that all of the batch's sequences share."""
    position = torch.arange(length, device=batch.owner.device).expand(batch.owner.shape[0], length)
    return Keys(torch.full_like(position, SHARED), position)


def visible(
    query: tuple[Int[Tensor, "rows q"], Int[Tensor, "rows q"]],
    key: tuple[Int[Tensor, "rows k"], Int[Tensor, "rows k"]],
    window: int | None,
) -> Bool[Tensor, "rows 1 q k"]:
    """Which keys each query token may attend to: earlier ones of its own sequence, or of a prefix that all share.

    Args:
        query: owner and position of each token that asks.
        key: owner and position of each token that may be attended to.
        window: how many last tokens are visible under sliding-window attention, the token itself counted.
    """
    (query_owner, query_position), (key_owner, key_position) = query, key
    distance = query_position[:, :, None] - key_position[:, None, :]
    same = (key_owner[:, None, :] == query_owner[:, :, None]) | (key_owner[:, None, :] == SHARED)
    seen = same & (distance >= 0)
    if window is not None:
        seen = seen & (distance < window)
    return seen[:, None]


def attention_masks(
    network: PreTrainedModel,
    query: tuple[Int[Tensor, "rows q"], Int[Tensor, "rows q"]],
    key: Keys | tuple[Int[Tensor, "rows k"], Int[Tensor, "rows k"]],
) -> Tensor | dict[str, Tensor]:
    """The mask in the form the network takes: one tensor, or one for each kind of layer where kinds differ.

    Raises:
        ValueError: the network has layers whose attention is neither full nor a sliding window.
    """
    config = network.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or [_only_kind(config)])
    # some of GPT-Neo's layers have a window of their own, which counts columns and not positions
    kinds |= {"local"} & set(getattr(config, "attention_layers", ()))
    if unknown := kinds - {"full_attention", "sliding_attention"}:
        raise ValueError(f"{config.model_type}: layers of kind {sorted(unknown)} are not supported")
    windows = {kind: config.sliding_window if kind == "sliding_attention" else None for kind in sorted(kinds)}
    masks = {kind: _as_taken(visible(query, key, window), network) for kind, window in windows.items()}
    return masks if len(masks) > 1 or _takes_masks_by_kind(network) else next(iter(masks.values()))


def _only_kind(config: PreTrainedConfig) -> str:
    slides = getattr(config, "sliding_window", None) is not None and config.model_type not in WINDOW_IGNORED
    return "sliding_attention" if slides else "full_attention"


def _takes_masks_by_kind(network: PreTrainedModel) -> bool:
    # the decoders that look a layer's mask up by its kind do so for every layer, also where all are of one kind
    return getattr(network.config.get_text_config(decoder=True), "layer_types", None) is not None


def _as_taken(seen: Bool[Tensor, "rows 1 q k"], network: PreTrainedModel) -> Float[Tensor, "rows 1 q k"]:
    """The mask as what is added to scores; torch would make the same of truth values, but anew in every layer."""
    by_torch = network.config._attn_implementation in ("sdpa", GROUPED)
    floor = -torch.inf if by_torch else torch.finfo(network.dtype).min
    return torch.zeros(seen.shape, dtype=network.dtype, device=seen.device).masked_fill(~seen, floor)
