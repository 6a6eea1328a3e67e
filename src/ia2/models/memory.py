"""How much memory is free, and how much a forward pass keeps for its backward pass."""

from collections.abc import Callable
from typing import Any

import psutil
import torch
from torch import Tensor
from transformers import PreTrainedModel


def free_bytes(device: torch.device) -> int:
    """What can still be taken on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def steady_bytes(network: PreTrainedModel) -> float:
    """What training may take beyond a model wherever a run must be repeatable to the last bit.

    How many adapters share a bank decides the order of some sums, so that it mustn't depend on what is free at the
    moment. It is a share of all memory: nearly all of a GPU's, less than half of a machine's, on which two processes
    may share a study.
    """
    device = network.device
    weights: int = sum(tensor.numel() * tensor.element_size() for tensor in network.parameters())
    if device.type == "cuda":
        return float(0.9 * torch.cuda.get_device_properties(device).total_memory - weights)
    return float(0.4 * psutil.virtual_memory().total - weights)


def saved_bytes(forward: Callable[[], Any], network: PreTrainedModel) -> int:
    """The bytes of all tensors kept for the backward pass of a computation, each once, and no weight of the network."""
    own = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()
    del result  # until here it holds on to everything that was noted
    return sum(kept.values())
