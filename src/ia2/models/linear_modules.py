"""Linear modules of networks, whichever class they are of, and how many numbers they take and give."""

from torch import nn
from transformers.pytorch_utils import Conv1D


def features(module: nn.Module) -> tuple[int, int] | None:
    """How many numbers a linear module takes and gives for each token; None where it is none.

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
