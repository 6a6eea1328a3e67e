"""Frozen linear layers on a CPU, multiplied by whichever library is faster on its processor, above all for few rows.

torch multiplies float32 matrices with MKL, which is best on Intel's processors; on others, for the few dozen rows of a
training step or of decoding, oneDNN was up to twice as fast. oneDNN puts a weight in order at each product, unless the
weights of one input lie side by side; so they are laid, which the backward pass pays for and a forward pass alone gains
by. `make bench ARGS="products"` holds the choice against the other one.
"""

import platform
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Products = Literal["torch", "onednn"]
"""Who multiplies: the library that torch has chosen (MKL, where there is one), or oneDNN."""


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


@cache
def fastest_products() -> Products:
    """The library that suits this machine's processor.

    It goes by who made the processor and not by a measurement, so that a machine's numbers are the same in every run.
    """
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return "torch"
    described = Path("/proc/cpuinfo")
    processor = described.read_text(encoding="utf-8") if described.exists() else platform.processor()
    mkl: bool = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return "torch" if mkl and "GenuineIntel" in processor else "onednn"


def freeze(network: nn.Module, products: Products | None = None) -> None:
    """Take a network as one that isn't trained: gradients off, its linear layers multiplied as is fastest on a CPU.

    Parameters keep their names, shapes and numbers; under oneDNN, how a layer's weight lies in memory changes.

    Args:
        network: what is frozen.
        products: who multiplies float32 on a CPU; by default as `fastest_products` says.
    """
    network.eval().requires_grad_(False)
    if (products or fastest_products()) == "torch":
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
