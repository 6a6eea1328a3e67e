"""Free memory of a device, memory budgets, and the bytes that a forward pass saves for its backward pass."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

CPU_RESPONSES, GPU_RESPONSES = 32, 512
"""Maximum number of responses worth decoding at once, per adapter."""
CGROUP = Path("/sys/fs/cgroup")
"""Where Linux shows a container's memory limit."""


def free_bytes(device: torch.device) -> int:
    """Return the number of bytes that can still be allocated on a device."""
    if device.type == "cuda":
        # torch keeps freed blocks reserved and reuses them
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + held)
    _, left = _container()
    return int(min(_machine()[1], left))


def _machine() -> tuple[int, int]:
    """Return the total and the available bytes of the machine's memory."""
    try:
        memory = psutil.virtual_memory()
    except (OSError, RuntimeError):  # /proc isn't mounted: ask the kernel
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    return int(memory.total), int(memory.available)


def _container() -> tuple[float, float]:
    """Return the memory limit of the enclosing container and the bytes left of it; infinite without a limit."""
    # cgroups v2, then v1
    for folder, limit, use, read in (
        (CGROUP, "memory.max", "memory.current", "inactive_file"),
        (CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        if (folder / limit).exists():
            most = float((folder / limit).read_text().replace("max", "inf"))
            counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            # the page cache is evicted when memory is needed
            used = int((folder / use).read_text()) - int(counts[read])
            return most, max(0.0, most - used)
    return math.inf, math.inf


def steady_bytes(network: PreTrainedModel) -> float:
    """Return the bytes that training may use beyond the model's weights, in runs that must be bitwise reproducible.

    The number of adapters in a bank determines the order of some sums, so the budget mustn't depend on what happens to
    be free. It is a fixed share of total memory: 90% on a GPU; 40% of the machine's or container's memory on a CPU,
    where two processes may share a study.
    """
    device = network.device
    # of a model dispatched over devices, only the weights on its main device
    there = [tensor for tensor in network.parameters() if tensor.device == device]
    weights: int = sum(tensor.numel() * tensor.element_size() for tensor in there)
    if device.type == "cuda":
        return float(0.9 * torch.cuda.get_device_properties(device).total_memory - weights)
    most, _ = _container()
    return float(0.4 * min(_machine()[0], most) - weights)


def responses_that_fit(network: PreTrainedModel, tokens: int, sites: int = 0) -> int:
    """Return how many responses fit at once, if keys, values and recorded activations take half of `steady_bytes`.

    Args:
        network: a causal language model.
        tokens: length of the longest prompt and response together.
        sites: number of sites recorded at each token.

    Returns:
        At least 1, at most `CPU_RESPONSES` or `GPU_RESPONSES`. In small batches each additional response is nearly
        free, since every step reads all weights anyway.
    """
    config = network.config.get_text_config(decoder=True)
    # per layer, because Gemma 4's layers differ
    keys = sum(_key_numbers(layer) for layer in config.per_layer_config)
    numbers = 2 * keys + config.num_hidden_layers * sites * config.hidden_size
    most = CPU_RESPONSES if network.device.type == "cpu" else GPU_RESPONSES
    room = 0.5 * steady_bytes(network) / (tokens * numbers * network.dtype.itemsize)
    return max(1, min(most, int(room)))


def _key_numbers(config: PreTrainedConfig) -> int:
    """Return the number of values in one token's keys in a layer like this; a recurrent state has about as many."""
    query_heads = getattr(config, "num_attention_heads", None) or 1
    heads = getattr(config, "num_key_value_heads", None) or query_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // query_heads
    return int(heads * size)


def saved_bytes(forward: Callable[[], Any], network: PreTrainedModel) -> int:
    """Return the bytes that a computation saves for backward, each storage once, without the network's weights."""
    weights_of_network = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights_of_network:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()
    del result  # the result keeps everything noted alive until here
    return sum(saved.values())
