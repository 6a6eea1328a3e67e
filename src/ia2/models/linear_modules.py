"""Linear modules of networks, of either class, and their numbers of input and output features."""

from torch import nn
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
