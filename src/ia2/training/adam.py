"""Adam for a bank of adapters: one independent optimiser per adapter, computed in a few batched operations."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ia2.models.transfer import on_device


class Adam:
    """Adam (Kingma and Ba 2015) for a bank, with an independent step and learning rate for each adapter."""

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, values: Float[Tensor, "adapters values"], learning_rates: Sequence[float]) -> None:
        """Start with zero moments, one learning rate per adapter."""
        self.learning_rate = torch.tensor(learning_rates, dtype=torch.float64, device=values.device)[:, None]
        self.mean, self.square = torch.zeros_like(values), torch.zeros_like(values)
        self.steps = 0

    @torch.no_grad()
    def step(self, values: Float[Tensor, "adapters values"], gradient: Float[Tensor, "adapters values"]) -> None:
        """Update the values in place with their gradient."""
        self.steps += 1
        first, second = self.BETAS
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        size = (self.learning_rate / (1 - first**self.steps)).to(values.dtype)
        # in place, because a bank of full-rank matrices has gigabytes of values
        root = self.square.sqrt().div_((1 - second**self.steps) ** 0.5).add_(self.EPSILON).div_(size)
        values.addcdiv_(self.mean, root, value=-1)

    def keep(self, indices: Sequence[int]) -> None:
        """Continue with these adapters only, in this order."""
        remaining = on_device(list(indices), self.mean.device)
        self.learning_rate, self.mean, self.square = (
            values.index_select(0, remaining) for values in (self.learning_rate, self.mean, self.square)
        )
