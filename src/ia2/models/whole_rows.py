"""Which modules of a network are called with whole rows of a batch, so that each row can have its own adapter."""

from collections.abc import Set
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ia2.errors import InputError
from ia2.models.architectures import attention_blocks


@torch.no_grad()
def take_whole_rows(network: PreTrainedModel, modules: Set[nn.Module]) -> bool:
    """Return whether all of these modules are called with (rows, width, size).

    Those of attention blocks are. In some families, feed-forward blocks take tokens without their rows; experts take
    only the tokens routed to them, and the head takes only response positions.

    Args:
        network: the model; its decoder reads one token to test modules outside attention.
        modules: some of its modules.

    Example:
        >>> take_whole_rows(model.network, {model.network.model.layers[0].mlp.down_proj})
        True
        >>> take_whole_rows(model.network, {model.network.lm_head})
        False
    """
    outside = set(modules)
    with suppress(InputError):  # raised if the family's attention isn't known
        outside -= {module for block in attention_blocks(network) for module in block.modules()}
    if not outside:
        return True
    of_rows: set[nn.Module] = set()
    handles = [module.register_forward_pre_hook(partial(_note_rows, of_rows)) for module in outside]
    try:
        network.base_model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=network.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return of_rows == outside


def _note_rows(of_rows: set[nn.Module], module: nn.Module, arguments: tuple[Any, ...]) -> None:
    if arguments[0].ndim == 3:
        of_rows.add(module)
