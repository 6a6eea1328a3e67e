"""Inferred parts are held to what a network computes: a layer adds to the residual stream what was taken for its parts.

A layer gives its input, what its mixer gives, and what one other module of it gives, its feed-forward block. Where the
difference of the residual stream is something else, another module was taken for the mixer, or what it gives is changed
before it is added.
"""

from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ia2.errors import InputError
from ia2.models.architectures import architecture_of

TOKENS = (5, 3, 7, 2, 6, 4, 1)
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.05, torch.float16: 0.05}
"""How far sums may be apart by rounding, as a share of what the layer adds."""


@torch.no_grad()
def check_residual(network: PreTrainedModel, name: str) -> None:
    """Refuse a network whose parts were inferred where its residual stream says otherwise.

    Args:
        network: a causal language model; where the table knows it, nothing is checked.
        name: what an error calls it.

    Raises:
        InputError: the residual stream's difference isn't what was recorded in some layer.
    """
    try:
        architecture = architecture_of(network)
    except InputError:  # whoever reads its parts is told
        return
    if not architecture.is_inferred:
        return
    for path, parts in architecture.mixing:
        layer = network.get_submodule(path)
        if not _adds_up(network, layer, layer.get_submodule(f"{parts.block}.{parts.output}")):
            raise InputError(
                f"{name}: models of the kind {network.config.model_type} aren't in the table of architectures, and "
                f"{path}.{parts.block}, which looks like attention, isn't what the layer adds to the residual stream. "
                "Use a decoder such as Llama, Qwen or Gemma, or add the architecture to "
                "ia2.models.architecture_table.LAYER_PARTS."
            )


def _adds_up(network: PreTrainedModel, layer: nn.Module, output_projection: nn.Module) -> bool:
    """Whether a layer adds what its output projection gives, and at most what one other module gives."""
    outputs: dict[nn.Module, Tensor] = {}
    taken: list[Tensor] = []

    def take(_module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        taken.append(arguments[0] if arguments else keywords["hidden_states"])

    def note(module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> None:
        output = output[0] if isinstance(output, tuple) else output
        if isinstance(output, Tensor):
            outputs[module] = output

    with ExitStack() as hooks:
        hooks.callback(layer.register_forward_pre_hook(take, with_kwargs=True).remove)
        for module in layer.modules():
            hooks.callback(module.register_forward_hook(note).remove)
        network.base_model(input_ids=torch.tensor([TOKENS], device=network.device), use_cache=False)
    if len(taken) != 1 or output_projection not in outputs:
        return False
    added = (outputs[layer] - taken[0]).flatten(0, -2).float()
    remainder = added - outputs[output_projection].float().reshape(added.shape)
    others = [
        tensor.float().reshape(added.shape)
        for module, tensor in outputs.items()
        if module not in (layer, output_projection) and tensor.numel() == added.numel()
    ]
    most = TOLERANCE[network.dtype] * added.norm()
    return any(bool((remainder - other).norm() < most) for other in (torch.zeros_like(added), *others))
