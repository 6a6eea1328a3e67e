"""A shift of attention outputs: one vector per layer, added after W_O at every position, like a steering vector."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from peft import LoraConfig, PeftConfig
from torch import Tensor, nn
from transformers import PreTrainedModel

from ia2.adapters.kind import (
    PLACES,
    PREFIX,
    AdapterKind,
    AdditiveEffect,
    Effect,
    Shapes,
    Values,
    is_transposed,
    is_understood,
    linear_targets,
    target_names,
)
from ia2.adapters.lora import A, B

BIAS = "lora_B.bias"
_SETTINGS = PLACES | {"r", "lora_alpha", "lora_bias", "use_rslora"}


@dataclass(frozen=True, kw_only=True)
class Shift(AdapterKind):
    """A vector added to each layer's attention output at every position, stored in PEFT as the bias of a zero LoRA.

    Example:
        >>> Shift.label(Shift().as_record(None))
        'shift'
    """

    kind: ClassVar[str] = "shift"
    learning_rates: ClassVar[tuple[float, ...]] = (1e-3, 3e-3, 1e-2)
    solvable: ClassVar[bool] = True

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """PEFT's configuration for a network. Raises InputError if its attention can't be found."""
        return LoraConfig(
            r=1,
            lora_alpha=1,
            lora_bias=True,
            task_type="CAUSAL_LM",
            target_modules=target_names(network, ("output",)),
            fan_in_fan_out=is_transposed(network, ("output",)),
        )

    @classmethod
    def effect_of(cls, configuration: PeftConfig) -> Effect | None:
        """Return the shift of a LoRA with a bias; None for other kinds, and for unknown settings."""
        if not is_understood(configuration, LoraConfig, _SETTINGS) or not configuration.lora_bias:
            return None
        return Shifted(configuration.lora_alpha / configuration.r ** (0.5 if configuration.use_rslora else 1))


@dataclass(frozen=True)
class Shifted(AdditiveEffect):
    """scaling · (BA x + b). A and B start at zero, where both gradients vanish, so only b is trained."""

    scaling: float
    suffixes: ClassVar[tuple[str, ...]] = (A, B, BIAS)

    def shapes(self, network: PreTrainedModel, configuration: PeftConfig) -> Shapes | None:
        """Return the shapes of A (rank, inputs), B (outputs, rank) and b (outputs) of each module."""
        targets = linear_targets(network, configuration)
        if targets is None:
            return None
        shapes = {}
        for path, (inputs, outputs) in targets.items():
            shapes[f"{PREFIX}{path}.{A}"] = torch.Size((configuration.r, inputs))
            shapes[f"{PREFIX}{path}.{B}"] = torch.Size((outputs, configuration.r))
            shapes[f"{PREFIX}{path}.{BIAS}"] = torch.Size((outputs,))
        return shapes

    def fresh(self, network: PreTrainedModel, configuration: PeftConfig) -> dict[str, Tensor]:
        """Return zeros, which change nothing."""
        return {name: torch.zeros(shape) for name, shape in (self.shapes(network, configuration) or {}).items()}

    def delta(self, module: nn.Module, inputs: Tensor, values: Values) -> Tensor:
        """Return scaling · (BA x + b)."""
        update = torch.bmm(torch.bmm(inputs, values[A].mT), values[B].mT)
        return self.scaling * (update + values[BIAS][:, None])
