"""Dropout of LoRA, with masks that depend only on the sequence and position, not on the rest of the batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ia2.models.layout import Batch
from ia2.models.transfer import on_device

STEPS = 2**24
"""Resolution of the dropout probability."""


@dataclass(frozen=True)
class Dropout:
    """Dropout of modules' inputs, for each token of a batch (Srivastava et al. 2014)."""

    rate: float
    """Share of inputs that is dropped."""
    token: Int[Tensor, "rows width"]
    """Hash of each token's sequence seed and position."""
    noisy: Bool[Tensor, "rows width"]
    """Tokens to which dropout applies."""

    @classmethod
    def of(cls, batch: Batch, rate: float, noise: Sequence[int | None]) -> "Dropout":
        """Return the dropout of a batch.

        Args:
            batch: the batch.
            rate: share of inputs to drop.
            noise: seed of each sequence's masks; None for a sequence without dropout.

        Raises:
            ValueError: sequences share tokens of a row, for which their masks would differ.
        """
        if any(span.alone > span.skipped for span in batch.spans):
            raise ValueError("with dropout no tokens can be shared; lay the batch out with share=False")
        owner = batch.owner.clamp_min(0)
        numbers = on_device([_signed(number or 0) for number in noise], owner.device, torch.int32)
        has_dropout = on_device([number is not None for number in noise], owner.device, torch.bool)
        offset = batch.position_ids.to(torch.int32) * _signed(0x9E3779B1)
        token = _mixed(numbers[owner] + offset)
        return cls(rate, token, has_dropout[owner] & (batch.owner >= 0))

    def applied(self, inputs: Float[Tensor, "rows width n"], module: int) -> Float[Tensor, "rows width n"]:
        """Return a module's inputs after dropout, with those that stay scaled by 1 / (1 - rate).

        Args:
            inputs: the module's inputs.
            module: index of the module; each module has masks of its own.
        """
        noisy = self.noisy.to(inputs.device)[..., None]
        token = _mixed(self.token.to(inputs.device) + _signed(module * 0x85EBCA77))
        offset = torch.arange(inputs.shape[-1], dtype=torch.int32, device=inputs.device) * _signed(0xC2B2AE3D)
        drawn = _mixed(token[..., None] + offset) & (STEPS - 1)
        kept_mask = (drawn >= int(self.rate * STEPS)) | ~noisy
        scale = torch.where(noisy, 1 / (1 - self.rate), 1.0).to(inputs.dtype)
        return inputs * kept_mask * scale


def _mixed(value: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    """Return hashes in which every bit depends on all bits of the input (MurmurHash3's finaliser, Appleby 2011)."""
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        value = (value ^ _shifted_right(value, shift)) * _signed(factor)
    return value ^ _shifted_right(value, 16)


def _shifted_right(value: Int[Tensor, "*shape"], by: int) -> Int[Tensor, "*shape"]:
    # an arithmetic shift of a negative number would fill it with ones
    return (value >> by) & ((1 << (32 - by)) - 1)


def _signed(value: int) -> int:
    """Return the lowest 32 bits as a signed int32."""
    last = value & 0xFFFFFFFF
    return last - (1 << 32) if last >= 1 << 31 else last
