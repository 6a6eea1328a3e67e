"""A bank: many low-rank adapters over one frozen network, run and trained in one forward and backward pass.

Each row of a batch belongs to one adapter. The adapters' factors are stacked on a first axis, so that a projection's
update is one batched product with A and one with B, whatever the number of adapters.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel

PREFIX = "base_model.model."
FACTOR_A, FACTOR_B = ".lora_A.weight", ".lora_B.weight"


class Bank:
    """K adapters of one rank on the same modules; their values are one matrix with a row for each adapter."""

    def __init__(self, network: PreTrainedModel, adapters: Sequence[Mapping[str, Tensor]], scaling: float) -> None:
        """Stack adapters.

        Args:
            network: the frozen model.
            adapters: each adapter's factors, named and shaped as in PEFT's file; all of the same names and shapes.
            scaling: what an update is multiplied by (alpha / rank).

        Raises:
            ValueError: there are no adapters, their names or shapes differ, or they are none of LoRA's.
        """
        self.network, self.scaling = network, scaling
        self.shapes = {name: tensor.shape for name, tensor in adapters[0].items()} if adapters else {}
        if not self.shapes or any({n: t.shape for n, t in one.items()} != self.shapes for one in adapters):
            raise ValueError("a bank needs adapters of the same names and shapes, at least one")
        if any(not name.endswith((FACTOR_A, FACTOR_B)) for name in self.shapes):
            raise ValueError("a bank stacks the two factors of LoRA, and nothing else")
        flat = [torch.cat([one[name].reshape(-1) for name in self.shapes]) for one in adapters]
        self.values: Float[Tensor, "adapters values"] = torch.stack(flat).to(network.device, torch.float32)
        """Every adapter's factors end to end; what an optimiser changes."""
        self.modules = {
            name.removesuffix(FACTOR_A): network.get_submodule(name.removesuffix(FACTOR_A).removeprefix(PREFIX))
            for name in self.shapes
            if name.endswith(FACTOR_A)
        }

    def __len__(self) -> int:
        """How many adapters there are."""
        return len(self.values)

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these adapters only, in this order."""
        trained = self.values.requires_grad
        self.values = self.values.detach()[list(indices)].requires_grad_(trained)

    def weights(self, index: int) -> dict[str, Tensor]:
        """A copy of one adapter's factors on the CPU, named as in PEFT's file."""
        return self.named(self.values[index].detach())

    def named(self, values: Float[Tensor, " values"]) -> dict[str, Tensor]:
        """One adapter's values, cut and named as in PEFT's file, copied to the CPU."""
        parts = values.split_with_sizes([shape.numel() for shape in self.shapes.values()])
        return {
            name: part.reshape(shape).to("cpu", copy=True)
            for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }

    @contextmanager
    def attached(self, adapter_of_row: Int[Tensor, " rows"] | None = None) -> Iterator[None]:
        """Run the network with the adapters; it is as it was when the block is left.

        Args:
            adapter_of_row: which adapter each row of a batch belongs to; by default row i is adapter i's.
        """
        values = self.values if adapter_of_row is None else self.values[adapter_of_row]
        # one split has one gradient, where as many slices would each make one of the whole
        parts = values.split_with_sizes([shape.numel() for shape in self.shapes.values()], dim=1)
        factors = {
            name: part.view(len(values), *shape) for part, (name, shape) in zip(parts, self.shapes.items(), strict=True)
        }

        def update(a: Float[Tensor, "rows rank inputs"], b: Float[Tensor, "rows outputs rank"]) -> Any:
            def add(_module: nn.Module, arguments: tuple[Any, ...], output: Tensor) -> Tensor:
                low = torch.bmm(arguments[0].to(a.dtype), a.transpose(1, 2))
                return torch.baddbmm(output.to(b.dtype), low, b.transpose(1, 2), alpha=self.scaling).to(output.dtype)

            return add

        handles = [
            module.register_forward_hook(update(factors[name + FACTOR_A], factors[name + FACTOR_B]))
            for name, module in self.modules.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


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
        root = self.square.sqrt().div_((1 - second**self.steps) ** 0.5).add_(self.EPSILON)
        size = (self.learning_rate / (1 - first**self.steps)).to(values.dtype)
        values.sub_(size * self.mean / root)

    def keep(self, indices: Sequence[int]) -> None:
        """Go on with these adapters only, in this order."""
        kept = list(indices)
        self.learning_rate = self.learning_rate[kept]
        self.mean, self.square = self.mean[kept], self.square[kept]
