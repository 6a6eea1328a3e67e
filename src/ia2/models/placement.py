"""Device and dtype of a model's weights: as the user asks, or else as suits this machine."""

import functools
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ia2.errors import FieldError, InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEVICES = ("cpu", "cuda", "mps")
SPREAD = "auto"
"""Name for all devices together: weights fill the GPUs one after another, then the CPU's memory, then the disk."""
PROBE_SIZE = 256


@dataclass(frozen=True)
class Placement:
    """A device and a dtype, each with the reason for it."""

    device: str
    """A device, or `auto` for all of them together."""
    dtype: str
    reasons: tuple[str, str]
    """Reasons for the device and for the dtype."""

    @property
    def is_spread(self) -> bool:
        """Whether the weights may be spread over several devices."""
        return self.device == SPREAD

    @property
    def device_map(self) -> Any:
        """The `device_map` for transformers."""
        return SPREAD if self.is_spread else {"": self.device}

    @classmethod
    def chosen(cls, device: str | None, dtype: str | None) -> "Placement":
        """Return the placement asked for, with defaults that suit this machine.

        Args:
            device: cpu, cuda, cuda:1, … or mps; `auto` to spread a model over all devices.
            dtype: float32, bfloat16 or float16.

        Raises:
            FieldError: a device isn't on this machine, or there is no such dtype.

        Example:
            >>> Placement.chosen("cpu", "float32").dtype
            'float32'
        """
        device_name, why = _device(device)
        dtype_name, reason = _dtype(dtype, device_name)
        return cls(device_name, dtype_name, (why, reason))


def where_weights_are(network: PreTrainedModel) -> str:
    """Return the device of a network's weights; if there are several, how many parts each holds.

    Raises:
        InputError: the embeddings are in no device's memory, so the network can't be run.
    """
    parts: dict[str, Any] = getattr(network, "hf_device_map", None) or {}
    names = Counter(_name(device) for device in parts.values())
    if network.device.type == "meta":
        raise InputError(
            f"{network.config.model_type}: not even its embeddings fit into the memory of a device beside the largest "
            "layer. Use a smaller model, or load it in 4 bits."
        )
    if len(names) < 2:
        return str(network.device)
    return ", ".join(f"{count} part{'s' * (count > 1)} on {name}" for name, count in names.items())


def device_of(module: nn.Module) -> torch.device | str | int:
    """Return the device on which a module computes: accelerate's choice for a spread model, else that of its weights.

    Args:
        module: a part of a network, with weights.
    """
    device: torch.device | str | int | None = getattr(getattr(module, "_hf_hook", None), "execution_device", None)
    return next(module.parameters()).device if device is None else device


def _name(device: Any) -> str:
    """Return torch's name of a device in accelerate's map, which numbers GPUs."""
    return f"{'cuda' if torch.cuda.is_available() else 'device'}:{device}" if isinstance(device, int) else str(device)


@functools.cache
def has_fast_bfloat16() -> bool:
    """Return whether this CPU multiplies bfloat16 at least as fast as float32.

    Measured once, on matrices small enough to take milliseconds. The flags that processors and virtual machines report
    don't help: they are also set if bfloat16 is emulated, about 200 times slower.
    """
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(PROBE_SIZE, PROBE_SIZE, dtype=dtype)
        runs = []
        for _ in range(3):
            begun = time.perf_counter()
            matrix @ matrix
            runs.append(time.perf_counter() - begun)
        seconds[dtype] = min(runs)
    return seconds[torch.bfloat16] <= seconds[torch.float32]


def _device(asked: str | None) -> tuple[str, str]:
    if asked is None:
        return ("cuda", "a GPU was found") if torch.cuda.is_available() else ("cpu", "no GPU was found")
    if asked == SPREAD:
        return SPREAD, "as asked"
    if asked.partition(":")[0] not in DEVICES:
        raise FieldError("device", asked, f"use {', '.join((*DEVICES, SPREAD)[:-1])} or {SPREAD}, or leave it out.")
    try:
        device = torch.device(asked)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise FieldError("device", asked, "this machine has no such device; leave it out, or use cpu.") from error
    # cpu:0, cpu:1, … are all the one CPU
    return "cpu" if device.type == "cpu" else str(device), "as asked"


def _dtype(asked: str | None, device: str) -> tuple[str, str]:
    # float32 even on CPUs with fast bfloat16, so that every CPU gives the same numbers
    on_cpu = device == "cpu" or (device == SPREAD and not torch.cuda.is_available())
    default, reason = ("float32", "float32 on a CPU") if on_cpu else ("bfloat16", "bfloat16 on a GPU")
    if asked in (None, default):
        return default, reason
    if asked not in DTYPES:
        raise FieldError("dtype", asked, f"use one of {', '.join(DTYPES)}.")
    slow = on_cpu and not has_fast_bfloat16()
    return asked, "as asked, though this CPU emulates it, many times slower" if slow else "as asked"
