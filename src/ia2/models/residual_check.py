"""Check of inferred architectures: a layer must add its mixer's output to the residual stream.

A layer's output is its input, plus the mixer's output, plus the output of one other module, its feed-forward block. If
the residual stream changes by anything else, the wrong module was inferred as the mixer, or its output is transformed
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
"""Rounding tolerance, relative to the norm of what the layer adds."""


@torch.no_grad()
def check_residual(network: PreTrainedModel, name: str) -> None:
    """Refuse a network with inferred parts if they don't account for the residual stream.

    Args:
        network: a causal language model; nothing is checked if its architecture is in the table.
        name: the model's name in errors.

    Raises:
        InputError: some layer adds something else to the residual stream than the inferred parts' output.
    """
    try:
        architecture = architecture_of(network)
    except InputError:  # raised again when the parts are needed
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
    """Return whether a layer adds its output projection's output, and at most one other module's output."""
    outputs: dict[nn.Module, Tensor] = {}
    layer_inputs: list[Tensor] = []

    def record_input(_module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        layer_inputs.append(arguments[0] if arguments else keywords["hidden_states"])

    def record_output(module: nn.Module, _arguments: tuple[Any, ...], output: Any) -> None:
        output = output[0] if isinstance(output, tuple) else output
        if isinstance(output, Tensor):
            outputs[module] = output

    with ExitStack() as hooks:
        hooks.callback(layer.register_forward_pre_hook(record_input, with_kwargs=True).remove)
        for module in layer.modules():
            hooks.callback(module.register_forward_hook(record_output).remove)
        network.base_model(input_ids=torch.tensor([TOKENS], device=network.device), use_cache=False)
    if len(layer_inputs) != 1 or output_projection not in outputs:
        return False
    added = (outputs[layer] - layer_inputs[0]).flatten(0, -2).float()
    remainder = added - outputs[output_projection].float().reshape(added.shape)
    others = [
        tensor.float().reshape(added.shape)
        for module, tensor in outputs.items()
        if module not in (layer, output_projection) and tensor.numel() == added.numel()
    ]
    tolerance = TOLERANCE[network.dtype] * added.norm()
    return any(bool((remainder - other).norm() < tolerance) for other in (torch.zeros_like(added), *others))
