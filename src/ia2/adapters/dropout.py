"""LoRA's dropout, with masks that follow from position alone: they don't depend on what else is in a pass."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ia2.models.layout import Batch
from ia2.models.transfer import on_device

STEPS = 2**24
"""In how many steps a probability is cut."""


@dataclass(frozen=True)
class Dropout:
    """Which inputs of a module are left out, for each token of a batch (Srivastava et al. 2014)."""

    rate: float
    """The share of inputs that is dropped."""
    token: Int[Tensor, "rows width"]
    """A number of each token's own."""
    noisy: Bool[Tensor, "rows width"]
    """Which tokens have inputs dropped."""

    @classmethod
    def of(cls, batch: Batch, rate: float, noise: Sequence[int | None]) -> "Dropout":
        """Masks of a batch.

        Args:
            batch: what is read.
            rate: the share that is left out.
            noise: a number for each sequence, from which its masks follow; None where nothing is left out.

        Raises:
            ValueError: tokens stand in a row once for several sequences, whose masks would differ.
        """
        if any(span.alone > span.skipped for span in batch.spans):
            raise ValueError("with dropout no tokens can be shared; lay the batch out with share=False")
        owner = batch.owner.clamp_min(0)
        numbers = on_device([_signed(number or 0) for number in noise], owner.device, torch.int32)
        chosen = on_device([number is not None for number in noise], owner.device, torch.bool)
        offset = batch.position_ids.to(torch.int32) * _signed(0x9E3779B1)
        token = _mixed(numbers[owner] + offset)
        return cls(rate, token, chosen[owner] & (batch.owner >= 0))

    def applied(self, inputs: Float[Tensor, "rows width n"], module: int) -> Float[Tensor, "rows width n"]:
        """A module's inputs with some left out, and the others larger, so that their mean stays.

        Args:
            inputs: what the module is given.
            module: its number; each module has masks of its own.
        """
        noisy = self.noisy.to(inputs.device)[..., None]
        token = _mixed(self.token.to(inputs.device) + _signed(module * 0x85EBCA77))
        offset = torch.arange(inputs.shape[-1], dtype=torch.int32, device=inputs.device) * _signed(0xC2B2AE3D)
        drawn = _mixed(token[..., None] + offset) & (STEPS - 1)
        staying = (drawn >= int(self.rate * STEPS)) | ~noisy
        larger = torch.where(noisy, 1 / (1 - self.rate), 1.0).to(inputs.dtype)
        return inputs * staying * larger


def _mixed(value: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Numbers of which every bit depends on all bits of the given ones (MurmurHash3's finaliser, Appleby 2011)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        value = (value ^ _shifted(value, shift)) * _signed(factor)
    return value ^ _shifted(value, 16)


def _shifted(value: Int[Tensor, "*shape"], by: int) -> Int[Tensor, "*shape"]:
    # shifting a negative number fills it with ones
    return (value >> by) & ((1 << (32 - by)) - 1)


def _signed(value: int) -> int:
    """The last 32 bits, as an int32 has them."""
    last = value & 0xFFFFFFFF
    return last - (1 << 32) if last >= 1 << 31 else last
