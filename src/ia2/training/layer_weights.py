"""Selecting and weighting layers: `all`, `8-20`, `every 2`, or a weight for each."""

import functools
import math
import re
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ia2.errors import InputError
from ia2.models.transfer import on_device

RANGE, EVERY = re.compile(r"(\d+)(?:-(\d+))?"), re.compile(r"every ([1-9]\d*)")


@dataclass(frozen=True)
class Layers:
    """A selection of layers, numbered from 0."""

    which: str = "all"
    """`all`; a layer such as `5`; a range such as `8-20`, including both ends; several of these separated by commas; or
    `every 2`, which counts back from the last layer."""
    weight: tuple[float, ...] = ()
    """Weight of each of the model's layers; equal by default."""

    def __post_init__(self) -> None:
        parts = [part.strip() for part in self.which.split(",")]
        if self.which != "all" and not EVERY.fullmatch(self.which) and not all(map(RANGE.fullmatch, parts)):
            raise InputError(f"layers {self.which!r}: use all, a range such as 8-20, or every 2.")
        for first, last in self._ranges():
            if last < first:
                raise InputError(
                    f"layers {self.which!r}: the range {first}-{last} ends before it begins. Say {last}-{first}."
                )
        if not all(math.isfinite(value) and value >= 0 for value in self.weight):
            raise InputError(f"layers: the weights {self.weight} must be finite and not negative.")
        if self.weight and not any(self.weights(len(self.weight)) or ()):
            raise InputError(
                f"layers {self.which!r}: with the weights {self.weight} none of these layers has a weight above 0."
            )

    def weights(self, count: int) -> tuple[float, ...] | None:
        """Return the weight of each of a model's layers, 0 for unselected ones; None if all have equal weights.

        Args:
            count: number of layers in the model.

        Raises:
            InputError: the model lacks a selected layer, or the number of weights differs from the number of layers.
        """
        if self.which == "all" and not self.weight:
            return None
        if self.weight and len(self.weight) != count:
            raise InputError(f"layers: {len(self.weight)} weights were given, and the model has {count} layers.")
        chosen = self._chosen(count)
        if max(chosen) >= count:
            raise InputError(f"layers {self.which!r}: the model has layers 0 to {count - 1}.")
        return tuple((self.weight or (1.0,) * count)[layer] if layer in chosen else 0.0 for layer in range(count))

    def chosen(self, count: int, device: torch.device) -> "ChosenLayers | None":
        """Return the selected layers and their weights on a device; None if all have equal weights.

        Args:
            count: number of layers in the model.
            device: the device for both tensors.

        Raises:
            InputError: as for `weights`.
        """
        return _on_device(self, count, device)

    def _chosen(self, count: int) -> set[int]:
        if self.which == "all":
            return set(range(count))
        if every := EVERY.fullmatch(self.which):
            return set(range(count - 1, -1, -int(every[1])))
        return {layer for first, last in self._ranges() for layer in range(first, last + 1)}

    def _ranges(self) -> list[tuple[int, int]]:
        """Return the first and last layer of each part; empty for `all` and `every 2`, which depend on the model."""
        matches = map(RANGE.fullmatch, map(str.strip, self.which.split(",")))
        return [(int(bounds[1]), int(bounds[2] or bounds[1])) for bounds in matches if bounds is not None]


class ChosenLayers(NamedTuple):
    """Selected layers of a model."""

    layer: Int[Tensor, " layers"]
    """Layer indices, from 0."""
    weight: Float[Tensor, " layers"]
    """Layer weights."""


@functools.lru_cache(maxsize=64)
def _on_device(layers: Layers, count: int, device: torch.device) -> ChosenLayers | None:
    # cached, so that the tensors are copied to the device once instead of at every training step
    weights = layers.weights(count)
    if weights is None:
        return None
    numbers = [layer for layer, weight in enumerate(weights) if weight]
    values = [weights[layer] for layer in numbers]
    return ChosenLayers(on_device(numbers, device), on_device(values, device, torch.float32))
