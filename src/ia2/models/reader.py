"""A forward pass over a batch: masks that follow from owners and positions, and nothing read that nobody asks for.

What follows the last attention block serves the language-model head alone, which is asked at response positions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import Cache, PreTrainedConfig, PreTrainedModel

from ia2.models.gqa_attention import NAME as GROUPED
from ia2.models.layout import SHARED, Batch, Positions
from ia2.models.sites import last_feed_forward


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
    if unknown := kinds - {"full_attention", "sliding_attention"}:
        raise ValueError(f"{config.model_type}: layers of kind {sorted(unknown)} are not supported")
    windows = {kind: config.sliding_window if kind == "sliding_attention" else None for kind in sorted(kinds)}
    masks = {kind: _as_taken(visible(query, key, window), network) for kind, window in windows.items()}
    return masks if len(masks) > 1 or _takes_masks_by_kind(network) else next(iter(masks.values()))


def _only_kind(config: PreTrainedConfig) -> str:
    return "full_attention" if getattr(config, "sliding_window", None) is None else "sliding_attention"


def _takes_masks_by_kind(network: PreTrainedModel) -> bool:
    # the decoders that look a layer's mask up by its kind do so for every layer, also where all are of one kind
    return getattr(network.config.get_text_config(decoder=True), "layer_types", None) is not None


def _as_taken(seen: Bool[Tensor, "rows 1 q k"], network: PreTrainedModel) -> Tensor:
    if network.config._attn_implementation in ("sdpa", GROUPED):
        return seen
    floor = torch.finfo(network.dtype).min
    return torch.zeros(seen.shape, dtype=network.dtype, device=seen.device).masked_fill(~seen, floor)


@contextmanager
def head_at(network: PreTrainedModel, at: Positions) -> Iterator[None]:
    """Have the language-model head read these positions alone; its output is (1, n, vocabulary) meanwhile."""

    def keep(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (arguments[0][at.row, at.column][None], *arguments[1:])

    head = network.get_output_embeddings()
    if head is None:
        raise ValueError(f"{network.config.model_type}: this model has no language-model head")
    handle = head.register_forward_pre_hook(keep)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def last_feed_forward_at(network: PreTrainedModel, at: Positions | None) -> Iterator[None]:
    """Have the last layer's feed-forward block read these positions alone; elsewhere it adds nothing meanwhile.

    Where the head isn't asked, one token is read and left out.

    Every layer before it is read by the attention of the next one, at all positions. Where something is attached inside
    the block, such as adapters that belong to rows, it reads whole rows as ever.

    Args:
        network: a causal language model.
        at: where the head is asked; None where it isn't.
    """
    block = last_feed_forward(network)
    if block is None or any(part._forward_hooks or part._forward_pre_hooks for part in block.modules()):
        yield
        return
    shape: list[int] = []

    def narrow(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden: Tensor = arguments[0]
        shape[:] = hidden.shape
        # not every block can read nothing at all
        kept = hidden[:1, 0] if at is None else hidden[at.row, at.column]
        return (kept[None], *arguments[1:])

    def widen(_module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> Any:
        # a mixture of experts may say as well what its router chose, which its layer ignores
        added: Tensor = output[0] if isinstance(output, tuple) else output
        whole = added.new_zeros(shape)
        if at is not None:
            whole = whole.index_put((at.row, at.column), added[0])
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    handles = [block.register_forward_pre_hook(narrow), block.register_forward_hook(widen)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def forward(network: PreTrainedModel, batch: Batch, cache: Cache | None = None) -> None:
    """Run the decoder over a batch without the language-model head: for what hooks and caches keep of it."""
    with last_feed_forward_at(network, None):
        _call(network.base_model, network, batch, cache)


def response_logits(
    network: PreTrainedModel, batch: Batch, cache: Cache | None = None, cached: Keys | None = None
) -> Float[Tensor, "n vocabulary"]:
    """The next-token logits at the batch's response positions, in float32.

    Args:
        network: a causal language model.
        batch: what it reads.
        cache: keys and values of earlier tokens; it is read and grown by this call.
        cached: whose tokens those are; by default a prefix that all sequences share.
    """
    with head_at(network, batch.at), last_feed_forward_at(network, batch.at):
        logits: Tensor = _call(network, network, batch, cache, cached).logits
    return logits[0].float()


def _call(
    module: nn.Module, network: PreTrainedModel, batch: Batch, cache: Cache | None, cached: Keys | None = None
) -> Any:
    if cached is None:
        cached = shared_keys(batch, cache.get_seq_length() if cache is not None else 0)
    return module(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=attention_masks(network, (batch.owner, batch.position_ids), cached.followed_by(batch)),
        cache=cache,
        use_cache=cache is not None,
    )
