"""A forward pass over a batch that computes only what is needed.

Everything after the last attention block only feeds the language-model head, which is needed at few positions.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel

from ia2.models.architectures import last_feed_forward
from ia2.models.layout import Batch, Positions
from ia2.models.masks import Keys, attention_masks
from ia2.models.row_forms import row_form_of
from ia2.models.stacked_cache import has_columns
from ia2.models.transfer import on_device


@contextmanager
def head_at(network: PreTrainedModel, at: Positions) -> Iterator[None]:
    """Restrict the language-model head to these positions inside the block; its output is then (1, n, vocabulary)."""
    head = network.get_output_embeddings()
    if head is None:
        raise ValueError(f"{network.config.model_type}: this model has no language-model head")
    handle = head.register_forward_pre_hook(partial(_select_positions, at))
    try:
        yield
    finally:
        handle.remove()


def _select_positions(at: Positions, _head: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    return (at.taken(arguments[0])[None], *arguments[1:])


@contextmanager
def last_feed_forward_at(network: PreTrainedModel, at: Positions | None) -> Iterator[None]:
    """Restrict the last layer's feed-forward block to these positions inside the block; elsewhere it adds zero.

    Earlier layers are needed at all positions, by the attention of the next layer. If hooks are attached inside the
    feed-forward block, such as adapters that differ between rows, nothing is restricted.

    Args:
        network: a causal language model.
        at: positions at which the head runs; None if it doesn't, and then one token is computed and discarded.
    """
    block = last_feed_forward(network)
    if block is None or any(part._forward_hooks or part._forward_pre_hooks for part in block.modules()):
        yield
        return
    narrowed = _NarrowedBlock(at)
    handles = [block.register_forward_pre_hook(narrowed.narrow), block.register_forward_hook(narrowed.widen)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _NarrowedBlock:
    """The hooks around a block that computes some positions, or one token, and adds zero elsewhere."""

    def __init__(self, at: Positions | None) -> None:
        self.at = at
        self._shape: torch.Size = torch.Size()

    def narrow(self, _block: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Take the positions from the block's input."""
        hidden: Tensor = arguments[0]
        self._shape = hidden.shape
        # not every block accepts an empty input
        taken = hidden[:1, 0] if self.at is None else self.at.taken(hidden)
        return (taken[None], *arguments[1:])

    def widen(self, _block: nn.Module, _arguments: tuple[Any, ...], output: Any) -> Any:
        """Put the block's output back at the positions."""
        # a mixture of experts may also return its router's choices, which the layer ignores
        added: Tensor = output[0] if isinstance(output, tuple) else output
        if self.at is None:
            full = added.new_zeros(self._shape)
        elif self.at.token is None:
            full = added.view(self._shape)
        else:
            flat = added.new_zeros(self._shape).view(-1, self._shape[-1])
            full = flat.index_copy(0, self.at.token.to(added.device), added[0]).view(self._shape)
        return (full, *output[1:]) if isinstance(output, tuple) else full


def forward(network: PreTrainedModel, batch: Batch, cache: Cache | None = None, *, whole: bool = False) -> None:
    """Run the decoder over a batch without the language-model head, for what hooks and the cache record.

    Args:
        network: a causal language model.
        batch: the batch.
        cache: keys and values of earlier tokens, extended by this call.
        whole: compute the last layer's feed-forward block at all positions, although the head doesn't need it.
    """
    with nullcontext() if whole else last_feed_forward_at(network, None):
        _call(network.base_model, network, batch, cache)


def response_logits(
    network: PreTrainedModel,
    batch: Batch,
    cache: Cache | None = None,
    *,
    at: Positions | None = None,
    whole: bool = False,
) -> Float[Tensor, "n vocabulary"]:
    """Return the next-token logits at given positions, in float32.

    Args:
        network: a causal language model.
        batch: the batch.
        cache: keys and values of a prefix that all sequences share, extended by this call.
        at: the positions; by default all that predict response tokens.
        whole: compute the last layer's feed-forward block at all positions.
    """
    at = batch.at() if at is None else at
    with head_at(network, at), nullcontext() if whole else last_feed_forward_at(network, at):
        logits: Tensor = _call(network, network, batch, cache).logits
    return logits[0].float()


def next_token_logits(
    network: PreTrainedModel,
    token: Int[Tensor, " rows"],
    position: Int[Tensor, " rows"],
    cache: Cache,
    width: int,
) -> Float[Tensor, "rows vocabulary"]:
    """Feed one more token to each row; return the logits after it, in float32.

    Args:
        network: a causal language model.
        token: the token of each row.
        position: its position in the row's sequence, which is its column in the cache.
        cache: keys and values of the rows' earlier tokens, extended by this call.
        width: number of columns of the cache to attend to.
    """
    column = torch.arange(width, device=token.device).expand(len(token), width)
    owner = torch.zeros_like(column)
    masks = attention_masks(network, (owner[:, :1], position[:, None]), Keys(owner, column))
    logits: Tensor = network(
        input_ids=token[:, None],
        position_ids=position[:, None],
        attention_mask=masks,
        cache=cache,
        use_cache=True,
    ).logits
    return logits[:, -1].float()


def logits_behind_rows(
    network: PreTrainedModel, token: Int[Tensor, " rows"], cache: Cache, read: Sequence[int] = ()
) -> Float[Tensor, "rows vocabulary"]:
    """Feed one more token to each row; return the logits after it, in float32.

    Args:
        network: a causal language model.
        token: the token of each row.
        cache: cache of the rows' earlier tokens, extended by this call.
        read: number of tokens that each row has read; by default the same for all rows.
    """
    if len(set(read)) > 1:
        arguments = _arguments_of_uneven_rows(network, cache, on_device(read, token.device))
    else:
        arguments = row_form_of(network).behind(token, cache)
    logits: Tensor = network(input_ids=token[:, None], cache=cache, use_cache=True, **arguments).logits
    return logits[:, -1].float()


def _arguments_of_uneven_rows(network: PreTrainedModel, cache: Cache, read: Int[Tensor, " rows"]) -> dict[str, Tensor]:
    """Return the position of the next token of each row, and the mask of the empty columns of a stacked cache."""
    if not has_columns(cache):
        return {}
    columns = torch.arange(int(read.max()) + 1, device=read.device)
    arguments = {"attention_mask": (columns >= read.max() - read[:, None]).long(), "position_ids": read[:, None]}
    accepted = inspect.signature(network.forward).parameters
    return {name: values for name, values in arguments.items() if name in accepted}


def _call(module: nn.Module, network: PreTrainedModel, batch: Batch, cache: Cache | None) -> Any:
    arguments_of_form = row_form_of(network).arguments(network, batch, cache)
    return module(input_ids=batch.input_ids, cache=cache, use_cache=cache is not None, **arguments_of_form)
