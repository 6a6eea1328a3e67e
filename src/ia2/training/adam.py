"""Adam for a bank of adapters: as many independent optimisers as there are adapters, in a few operations."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from ia2.models.transfer import on_device


class Adam:
    """Adam (Kingma and Ba 2015) for a bank: an independent step of each adapter at its own learning rate."""

    BETAS = (0.9, 0.999)
    EPSILON = 1e-8

    def __init__(self, values: Float[Tensor, "adapters values"], learning_rates: Sequence[float]) -> None:
        """Begin for these adapters, each with its learning rate."""
        self.learning_rate = torch.tensor(learning_rates, dtype=torch.float64, device=values.device)[:, None]
        self.mean, self.square = torch.zeros_like(values), torch.zeros_like(values)
        self.steps = 0

    @torch.no_grad()
    def step(self, values: Float[Tensor, "adapters values"], gradient: Float[Tensor, "adapters values"]) -> None:
        """Change the values in place by their gradient."""
        self.steps += 1
        first, second = self.BETAS
        self.mean.lerp_(gradient, 1 - first)
        self.square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        size = (self.learning_rate / (1 - first**self.steps)).to(values.dtype)
        # in place, as a bank of whole matrices has gigabytes of values
        root = self.square.sqrt().div_((1 - second**self.steps) ** 0.5).add_(self.EPSILON).div_(size)
        values.addcdiv_(self.mean, root, value=-1)

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these adapters only, in this order."""
        staying = on_device(list(indices), self.mean.device)
        self.learning_rate, self.mean, self.square = (
            values.index_select(0, staying) for values in (self.learning_rate, self.mean, self.square)
        )
