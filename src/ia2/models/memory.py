"""How much memory is free, and how much a forward pass keeps for its backward pass."""

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
"""How many responses are worth writing at once for each adapter."""
CGROUP = Path("/sys/fs/cgroup")
"""Where Linux says what a container may take."""


def free_bytes(device: torch.device) -> int:
    """What can still be taken on a device."""
    if device.type == "cuda":
        # torch holds on to what was let go, and uses it again
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0] + held)
    _, left = _container()
    return int(min(_machine()[1], left))


def _machine() -> tuple[int, int]:
    """All bytes of the machine's memory, and what is left of them."""
    try:
        memory = psutil.virtual_memory()
    except (OSError, RuntimeError):  # where /proc isn't mounted the kernel itself is asked
        page = os.sysconf("SC_PAGE_SIZE")
        return page * os.sysconf("SC_PHYS_PAGES"), page * os.sysconf("SC_AVPHYS_PAGES")
    return int(memory.total), int(memory.available)


def _container() -> tuple[float, float]:
    """The most bytes that the container may take that this runs in, and what is left of them; infinite without one."""
    # of the second version of cgroups, then of the first
    for folder, limit, use, read in (
        (CGROUP, "memory.max", "memory.current", "inactive_file"),
        (CGROUP / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        if (folder / limit).exists():
            most = float((folder / limit).read_text().replace("max", "inf"))
            counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            # files that were read are let go when room is needed
            used = int((folder / use).read_text()) - int(counts[read])
            return most, max(0.0, most - used)
    return math.inf, math.inf


def steady_bytes(network: PreTrainedModel) -> float:
    """What training may take beyond a model wherever a run must be repeatable to the last bit.

    How many adapters share a bank decides the order of some sums, so that it mustn't depend on what is free at the
    moment. It is a share of all memory: nearly all of a GPU's, less than half of a machine's or a container's, on which
    two processes may share a study.
    """
    device = network.device
    # of a model that is spread over devices, those on the one that it computes on
    there = [tensor for tensor in network.parameters() if tensor.device == device]
    weights: int = sum(tensor.numel() * tensor.element_size() for tensor in there)
    if device.type == "cuda":
        return float(0.9 * torch.cuda.get_device_properties(device).total_memory - weights)
    most, _ = _container()
    return float(0.4 * min(_machine()[0], most) - weights)


def responses_that_fit(network: PreTrainedModel, tokens: int, sites: int = 0) -> int:
    """How many responses can be written at once, their keys and values and what is recorded in half of the memory.

    Args:
        network: a causal language model.
        tokens: of the longest prompt and response together.
        sites: how many sites are recorded at each token.

    Returns:
        At least one, and at most as many as are worth it: every one more of few is nearly free, as all weights are read
        for each token.
    """
    config = network.config.get_text_config(decoder=True)
    # each layer's, as Gemma 4's differ
    keys = sum(_key_numbers(layer) for layer in config.per_layer_config)
    numbers = 2 * keys + config.num_hidden_layers * sites * config.hidden_size
    most = CPU_RESPONSES if network.device.type == "cpu" else GPU_RESPONSES
    room = 0.5 * steady_bytes(network) / (tokens * numbers * network.dtype.itemsize)
    return max(1, min(most, int(room)))


def _key_numbers(config: PreTrainedConfig) -> int:
    """Numbers of one token's keys in a layer of this configuration; of a state about as many."""
    query_heads = getattr(config, "num_attention_heads", None) or 1
    heads = getattr(config, "num_key_value_heads", None) or query_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // query_heads
    return int(heads * size)


def saved_bytes(forward: Callable[[], Any], network: PreTrainedModel) -> int:
    """The bytes of all tensors kept for the backward pass of a computation, each once, and no weight of the network."""
    weights_of_network = {parameter.untyped_storage().data_ptr() for parameter in network.parameters()}
    saved: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights_of_network:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        result = forward()
    del result  # until here it holds on to everything that was noted
    return sum(saved.values())
