"""Full fine-tuning of attention projections."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from peft import LoraConfig, PeftConfig
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ia2.adapters.kind import (
    ATTENTION,
    PLACES,
    PREFIX,
    AdapterKind,
    Effect,
    ModuleEffect,
    Shapes,
    Values,
    check_modules,
    is_understood,
)
from ia2.models.architecture_table import Projection
from ia2.models.architectures import projection_names

# includes the settings of a low-rank update, because there is none
_SETTINGS = PLACES | {"modules_to_save", "r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora"}
_SETTINGS |= {"init_lora_weights", "eva_config", "corda_config", "lora_ga_config", "loftq_config", "megatron_core"}
_SETTINGS |= {"qalora_group_size"}


@dataclass(frozen=True, kw_only=True)
class FullFineTuning(AdapterKind):
    """Full fine-tuning of attention projections.

    Example:
        >>> FullFineTuning.label(FullFineTuning(modules=("output",)).as_record(None))
        'full o'
    """

    modules: tuple[Projection, ...] = ATTENTION
    """Which projections are trained."""
    kind: ClassVar[str] = "full"
    learning_rates: ClassVar[tuple[float, ...]] = (1e-5, 3e-5, 1e-4)

    def __post_init__(self) -> None:
        check_modules(self.modules)

    @property
    def needs_plain_weights(self) -> bool:
        """True, since the weights themselves are trained."""
        return True

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """Return PEFT's configuration for a network: modules to save whole, and no low-rank update."""
        return LoraConfig(
            task_type="CAUSAL_LM",
            target_modules=DUMMY_TARGET_MODULES,
            modules_to_save=projection_names(network, self.modules),
        )

    @classmethod
    def effect_of(cls, configuration: PeftConfig) -> Effect | None:
        """Return replaced weights; None for other kinds, and if there is a low-rank update as well."""
        if not is_understood(configuration, LoraConfig, _SETTINGS) or not configuration.modules_to_save:
            return None
        return Replaced() if configuration.target_modules == DUMMY_TARGET_MODULES else None


@dataclass(frozen=True)
class Replaced(ModuleEffect):
    """Weights that replace the module's: full fine-tuning."""

    suffixes: ClassVar[tuple[str, ...]] = ("weight", "bias")
    by_adapter: ClassVar[bool] = True
    reads_weights: ClassVar[bool] = True

    def shapes(self, network: PreTrainedModel, configuration: PeftConfig) -> Shapes:
        """Return the shapes of the modules' own parameters."""
        return {name: parameter.shape for name, parameter in _replaced(network, configuration).items()}

    def fresh(self, network: PreTrainedModel, configuration: PeftConfig) -> dict[str, Tensor]:
        """Return copies of the modules' own parameters."""
        parameters = _replaced(network, configuration)
        return {name: parameter.detach().to("cpu", torch.float32, copy=True) for name, parameter in parameters.items()}

    def update(self, module: nn.Module, inputs: Tensor, output: Tensor, values: Values) -> Tensor:
        """Return the output with these weights."""
        weight = values["weight"] if isinstance(module, Conv1D) else values["weight"].mT
        if "bias" not in values:
            return torch.bmm(inputs, weight)
        return torch.baddbmm(values["bias"][:, None], inputs, weight)


def _replaced(network: PreTrainedModel, configuration: PeftConfig) -> dict[str, Tensor]:
    """Return the parameters to replace, by their name in PEFT's file; like PEFT, match modules by suffix."""
    suffixes = tuple(configuration.modules_to_save or ())
    return {
        f"{PREFIX}{path}.{name}": parameter
        for path, module in network.named_modules()
        if path.endswith(suffixes)
        for name, parameter in module.named_parameters()
    }
