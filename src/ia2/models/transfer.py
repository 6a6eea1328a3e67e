"""Numbers that are worked out on the CPU and sent to a device without waiting until they are there."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def on_device(numbers: Sequence[Any] | Tensor, device: torch.device | str, dtype: torch.dtype = torch.long) -> Tensor:
    """Numbers, nested as a tensor's are, on a device.

    Making a tensor on a GPU of a list waits for all that the GPU has been told to do. From pinned memory the copy
    takes its turn, and this returns at once.

    Args:
        numbers: a list, or a tensor on the CPU.
        device: where they are wanted.
        dtype: the type of the numbers.

    Example:
        >>> on_device([[1, 2], [3, 4]], "cpu").shape
        torch.Size([2, 2])
    """
    tensor = torch.as_tensor(numbers, dtype=dtype)
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
