"""Linear modules, `nn.Linear` or `Conv1D`: their weights, biases, and numbers of input and output features."""

from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D


def features(module: nn.Module) -> tuple[int, int] | None:
    """Return a linear module's numbers of input and output features; None if it isn't linear.

    Example:
        >>> features(nn.Linear(3, 5))
        (3, 5)
    """
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        inputs, outputs = module.weight.shape
        return inputs, outputs
    return None


def weight_of(module: nn.Module) -> Float[Tensor, "outputs inputs"]:
    """Return the weight of a linear module, transposed if it is stored inputs first."""
    weight: Tensor = module.weight  # type: ignore[assignment]
    return weight.T if isinstance(module, Conv1D) else weight


def frozen_weight(module: nn.Module, inputs: Tensor) -> Float[Tensor, "outputs inputs"] | None:
    """Return the weight of a plain frozen linear module: inputs · Wᵀ plus bias, and nothing else.

    Args:
        module: any linear module.
        inputs: the module's input.

    Returns:
        None if the module has a class of its own (quantised modules do), if its weight is trainable or has another
        dtype or device than the inputs, or if its `forward` is replaced, as accelerate does to move weights between
        devices.
    """
    if type(module) not in (nn.Linear, Conv1D) or type(module.weight) is not nn.Parameter or "forward" in vars(module):
        return None
    weight = weight_of(module)
    alike = weight.dtype == inputs.dtype and weight.device == inputs.device
    return weight if alike and not weight.requires_grad else None


def bias_of(module: nn.Module) -> Float[Tensor, " outputs"] | None:
    """Return the bias of a linear module; None if it has none."""
    bias: Tensor | None = module.bias  # type: ignore[assignment]
    return bias
