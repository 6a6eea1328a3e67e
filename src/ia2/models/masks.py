"""Attention masks, computed only from the owner and the position of each token."""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from ia2.models.gqa_attention import NAME as GROUPED
from ia2.models.layout import SHARED, Batch

WINDOW_IGNORED = {"moshi"}
"""Model types whose configuration has a sliding window that their attention doesn't apply."""


class Keys(NamedTuple):
    """The sequence and the position of each token whose keys are in a cache."""

    owner: Int[Tensor, "rows k"]
    """Index of each token's sequence; PADDING for empty columns, SHARED in a prefix shared by all sequences."""
    position: Int[Tensor, "rows k"]

    def followed_by(self, batch: Batch) -> "Keys":
        """Return these keys with a batch's tokens appended."""
        owner = torch.cat([self.owner, batch.owner], dim=1)
        return Keys(owner, torch.cat([self.position, batch.position_ids], dim=1))


def shared_keys(batch: Batch, length: int) -> Keys:
    """Return the keys of a prefix of this length, shared by all sequences of the batch."""
    position = torch.arange(length, device=batch.owner.device).expand(batch.owner.shape[0], length)
    return Keys(torch.full_like(position, SHARED), position)


def visible(
    query: tuple[Int[Tensor, "rows q"], Int[Tensor, "rows q"]],
    key: tuple[Int[Tensor, "rows k"], Int[Tensor, "rows k"]],
    window: int | None,
) -> Bool[Tensor, "rows 1 q k"]:
    """Return the keys that each query token may attend to: earlier ones and itself, of its sequence or a shared prefix.

    Args:
        query: owner and position of each query token.
        key: owner and position of each key token.
        window: number of tokens visible under sliding-window attention, including the query token; None for all.
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
    """Return the mask in the form that the network takes: one tensor, or a dictionary by layer type.

    Raises:
        ValueError: a layer's attention is neither full nor sliding-window.
    """
    config = network.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or [_only_kind(config)])
    # some of GPT-Neo's layers have their own window, which counts columns instead of positions
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
    # decoders with `layer_types` look masks up by layer type, even if all layers are of one type
    return getattr(network.config.get_text_config(decoder=True), "layer_types", None) is not None


def _as_taken(seen: Bool[Tensor, "rows 1 q k"], network: PreTrainedModel) -> Float[Tensor, "rows 1 q k"]:
    """Return the mask as a bias added to scores; torch would convert a boolean mask again in every layer."""
    by_torch = network.config._attn_implementation in ("sdpa", GROUPED)
    floor = -torch.inf if by_torch else torch.finfo(network.dtype).min
    return torch.zeros(seen.shape, dtype=network.dtype, device=seen.device).masked_fill(~seen, floor)
