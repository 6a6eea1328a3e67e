"""Feed-forward blocks that keep only their inputs for the backward pass, in which they are computed again.

Between its two products a frozen gated block keeps three tensors, each several times as wide as the residual stream:
about two fifths of all that a training step keeps. Computing them again is a fifth of a step's arithmetic.
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
    """A tensor as it is, kept for the backward pass where what is kept can be counted."""

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
    """Meanwhile feed-forward blocks are computed again in the backward pass; gradients are the same but for rounding.

    A block inside which something is attached while it runs, such as adapters on its projections, keeps all: what is
    attached is gone when the backward pass runs.

    Args:
        network: a causal language model; where its family has no such blocks, nothing changes.
    """
    with ExitStack() as restored:
        for block in feed_forward_blocks(network):
            # of a model that is spread over devices, a function that moves weights stands in the block's place
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
        # nothing in a frozen block is drawn
        return checkpoint(forward, inputs, *arguments, use_reentrant=False, preserve_rng_state=False, **keywords)

    return run
