"""A forward pass over a batch, in which nothing is computed that nobody asks for.

What follows the last attention block serves the language-model head alone, which is asked at chosen positions.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
    """Have the language-model head read these positions alone; its output is (1, n, vocabulary) meanwhile."""

    def keep(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (at.taken(arguments[0])[None], *arguments[1:])

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
    the block, such as adapters that belong to rows, it reads whole rows.

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
        narrowed = hidden[:1, 0] if at is None else at.taken(hidden)
        return (narrowed[None], *arguments[1:])

    def widen(_module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> Any:
        # a mixture of experts may say as well what its router chose, which its layer ignores
        added: Tensor = output[0] if isinstance(output, tuple) else output
        if at is None:
            whole = added.new_zeros(shape)
        elif at.token is None:
            whole = added.view(shape)
        else:
            whole = (
                added.new_zeros(shape)
                .view(-1, shape[-1])
                .index_copy(0, at.token.to(added.device), added[0])
                .view(shape)
            )
        return (whole, *output[1:]) if isinstance(output, tuple) else whole

    handles = [block.register_forward_pre_hook(narrow), block.register_forward_hook(widen)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def forward(network: PreTrainedModel, batch: Batch, cache: Cache | None = None, *, whole: bool = False) -> None:
    """Run the decoder over a batch without the language-model head: for what hooks and caches keep of it.

    Args:
        network: a causal language model.
        batch: what it reads.
        cache: keys and values of earlier tokens; it is read and grown by this call.
        whole: compute the last layer's feed-forward block at all positions, though nobody asks the head.
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
    """The next-token logits at chosen positions, in float32.

    Args:
        network: a causal language model.
        batch: what it reads.
        cache: keys and values of a prefix that all sequences share; it is read and grown by this call.
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
    """The logits behind one more token of each row, in float32.

    Args:
        network: a causal language model.
        token: what each row reads.
        position: its place in the row's sequence, which is its column in the cache.
        cache: keys and values of the rows' earlier tokens; it is read and grown by this call.
        width: how many columns of it are read.
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
    """The logits behind one more token of each row, in float32.

    Args:
        network: a causal language model.
        token: what each row reads.
        cache: what the network keeps of the rows' earlier tokens; it is read and grown by this call.
        read: how many tokens each row has read; by default all as many.
    """
    if len(set(read)) > 1:
        told = _told_of_uneven_rows(network, cache, on_device(read, token.device))
    else:
        told = row_form_of(network).behind(token, cache)
    logits: Tensor = network(input_ids=token[:, None], cache=cache, use_cache=True, **told).logits
    return logits[:, -1].float()


def _told_of_uneven_rows(network: PreTrainedModel, cache: Cache, read: Int[Tensor, " rows"]) -> dict[str, Tensor]:
    """Where the next token of each row stands, and which columns of a stacked cache are empty."""
    if not has_columns(cache):
        return {}
    columns = torch.arange(int(read.max()) + 1, device=read.device)
    told = {"attention_mask": (columns >= read.max() - read[:, None]).long(), "position_ids": read[:, None]}
    taken = inspect.signature(network.forward).parameters
    return {name: values for name, values in told.items() if name in taken}


def _call(module: nn.Module, network: PreTrainedModel, batch: Batch, cache: Cache | None) -> Any:
    told = row_form_of(network).arguments(network, batch, cache)
    return module(input_ids=batch.input_ids, cache=cache, use_cache=cache is not None, **told)
