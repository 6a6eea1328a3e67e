"""Asynchronous transfer of index tensors from the CPU to a device."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def on_device(numbers: Sequence[Any] | Tensor, device: torch.device | str, dtype: torch.dtype = torch.long) -> Tensor:
    """Return a tensor on a device, without synchronising with the GPU.

    Creating a CUDA tensor from a list waits for all queued GPU work. A copy from pinned memory is queued instead, and
    this returns at once.

    Args:
        numbers: a list, nested for several dimensions, or a tensor on the CPU.
        device: device of the result.
        dtype: dtype of the result.

    Example:
        >>> on_device([[1, 2], [3, 4]], "cpu").shape
        torch.Size([2, 2])
    """
    tensor = torch.as_tensor(numbers, dtype=dtype)
    if torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)
