"""Activation checkpointing of feed-forward blocks: only their inputs are saved, the rest is recomputed in backward.

A frozen gated block saves three tensors between its two matrix products, each several times as wide as the residual
stream: about two fifths of all that a training step saves. Recomputing them is a fifth of a step's arithmetic.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from ia2.models.architectures import feed_forward_blocks


class _Kept(torch.autograd.Function):
    """The identity; it saves its input for backward, where saved-tensor hooks can count it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        return gradients[0]


@contextmanager
def recomputed_feed_forward(network: PreTrainedModel) -> Iterator[None]:
    """Recompute feed-forward blocks in backward passes inside the `with` block; gradients are the same up to rounding.

    A block with hooks on its submodules, such as those of adapters on its projections, isn't checkpointed, because the
    hooks are gone when backward runs.

    Args:
        network: a causal language model; unchanged if its family has no such blocks.
    """
    with ExitStack() as restored:
        for block in feed_forward_blocks(network):
            # accelerate replaces a block's `forward` if the model is dispatched over devices
            if (before := vars(block).get("forward")) is None:
                restored.callback(vars(block).pop, "forward")
            else:
                restored.callback(setattr, block, "forward", before)
            block.forward = _recomputing(block, block.forward)
        yield


def _recomputing(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(hidden: Tensor, *arguments: Any, **keywords: Any) -> Any:
        attached = any(part._forward_hooks or part._forward_pre_hooks for part in block.modules() if part is not block)
        if attached or not (torch.is_grad_enabled() and hidden.requires_grad):
            return forward(hidden, *arguments, **keywords)
        inputs = _Kept.apply(hidden)  # type: ignore[no-untyped-call]
        # a frozen block uses no random numbers
        return checkpoint(forward, inputs, *arguments, use_reentrant=False, preserve_rng_state=False, **keywords)

    return run
