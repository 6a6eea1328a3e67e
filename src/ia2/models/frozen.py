"""Frozen linear layers on a CPU, multiplied by oneDNN: faster than torch's own choice, most of all where rows are few.

torch multiplies float32 matrices with MKL. For the few dozen rows of a training step or of decoding, that was up to
twice as slow on the machine where we measured it. oneDNN puts a weight in order at each product, unless the weights of
one input lie side by side; so they are laid, which the backward pass pays for and a forward pass alone gains by.
`make bench ARGS="products"` compares both.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class FrozenLinear(nn.Linear):
    """A linear layer that isn't trained; its parameters and their names are those of `nn.Linear`."""

    def forward(self, input: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Multiply with oneDNN where it is at hand and the weight is as it must be, else as torch does."""
        weight, bias = self.weight, self.bias
        if not (_suits(input) and _suits(weight)) or weight.requires_grad or (bias is not None and bias.requires_grad):
            return super().forward(input)
        product: Tensor = _Product.apply(input, weight, bias)  # type: ignore[no-untyped-call]
        return product


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        context.weight = weight
        return _multiplied(input, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _multiplied(gradient, context.weight.t(), None), None, None


def _multiplied(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    product: Tensor = torch.ops.mkldnn._linear_pointwise(rows.contiguous(), weight, bias, "none", [], "")
    return product


def freeze(network: nn.Module) -> None:
    """Take a network as one that isn't trained: gradients off, and its linear layers multiplied by oneDNN on a CPU.

    Parameters keep their names, shapes and numbers; how a layer's weight lies in memory changes.
    """
    network.eval().requires_grad_(False)
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    layers = [module for module in network.modules() if type(module) is nn.Linear]
    rest = [module for module in network.modules() if type(module) is not nn.Linear]
    for layer in layers:
        layer.__class__ = FrozenLinear
    # a head that is also the embedding is looked up by rows
    others = {id(parameter) for module in rest for parameter in module.parameters(recurse=False)}
    weights = {id(layer.weight): layer.weight for layer in layers if _suits(layer.weight)}
    turned = [weight for key, weight in weights.items() if key not in others]
    for weight in turned:
        weight.data = weight.data.t().contiguous().t()
    if turned:
        # the file that weights were read from stays in memory as a whole while anything of it is used
        for parameter in network.parameters():
            if parameter.is_contiguous():
                parameter.data = parameter.data.clone()


def _suits(tensor: Tensor) -> bool:
    return tensor.dtype == torch.float32 and tensor.device.type == "cpu"
