"""(IA)³: learned scales of attention projections (Liu et al. 2022)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from peft import IA3Config, PeftConfig
from torch import Tensor, nn
from transformers import PreTrainedModel

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
    is_transposed,
    is_understood,
    linear_targets,
    target_names,
)
from ia2.errors import FieldError
from ia2.models.architecture_table import Projection
from ia2.models.linear_modules import bias_of, weight_of

SCALE = "ia3_l"
_SETTINGS = PLACES | {"feedforward_modules", "init_ia3_weights"}


@dataclass(frozen=True, kw_only=True)
class IA3(AdapterKind):
    """Learned scales of attention projections ((IA)³, Liu et al. 2022); learning rates are the paper's (appendix B).

    Example:
        >>> IA3.label(IA3(scale="input", modules=("query", "value")).as_record(None))
        'ia3 inputs q,v'
    """

    modules: tuple[Projection, ...] = ATTENTION
    """Which projections are scaled."""
    scale: Literal["output", "input"] = "output"
    """Whether the modules' outputs or their inputs are scaled; the paper's scripts scale inputs (PROTOCOL, Student)."""
    kind: ClassVar[str] = "ia3"
    learning_rates: ClassVar[tuple[float, ...]] = (1e-3, 1e-2, 1e-1)

    def __post_init__(self) -> None:
        check_modules(self.modules)
        if self.scale not in ("output", "input"):
            raise FieldError("scale", self.scale, "this must be output or input.")

    @property
    def needs_plain_weights(self) -> bool:
        """Whether inputs are scaled, so that the module's weights are applied again."""
        return self.scale == "input"

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """PEFT's configuration for a network. Raises InputError if its attention can't be found."""
        targets = target_names(network, self.modules)
        return IA3Config(
            task_type="CAUSAL_LM",
            target_modules=targets,
            feedforward_modules=targets if self.scale == "input" else [],
            fan_in_fan_out=is_transposed(network, self.modules),
        )

    @classmethod
    def effect_of(cls, configuration: PeftConfig) -> Effect | None:
        """Return scaled outputs or inputs; None for other kinds, a mixture of both, or modules that PEFT chooses."""
        if not is_understood(configuration, IA3Config, _SETTINGS):
            return None
        inputs = configuration.feedforward_modules
        if inputs is None:
            return None
        if not inputs:
            return ScaledOutputs()
        return ScaledInputs() if inputs == configuration.target_modules else None

    @classmethod
    def unusual(cls, record: Mapping[str, Any]) -> list[str]:
        """Return ["inputs"] if inputs are scaled."""
        return ["inputs"] * (record.get("scale") == "input")


class _Scaled(ModuleEffect):
    """A scale for each output of a module, or for each input."""

    suffixes: ClassVar[tuple[str, ...]] = (SCALE,)

    def shape(self, inputs: int, outputs: int) -> tuple[int, int]:
        """Return the shape of the scales for a module with these numbers of input and output features."""
        raise NotImplementedError

    def shapes(self, network: PreTrainedModel, configuration: PeftConfig) -> Shapes | None:
        """Return the shapes of each module's scales, a row or a column as in PEFT."""
        targets = linear_targets(network, configuration)
        if targets is None:
            return None
        return {f"{PREFIX}{path}.{SCALE}": torch.Size(self.shape(*sizes)) for path, sizes in targets.items()}

    def fresh(self, network: PreTrainedModel, configuration: PeftConfig) -> dict[str, Tensor]:
        """Return ones, which change nothing."""
        return {name: torch.ones(shape) for name, shape in (self.shapes(network, configuration) or {}).items()}


@dataclass(frozen=True)
class ScaledOutputs(_Scaled):
    """Every output of a module times a learned number ((IA)³, Liu et al. 2022)."""

    def shape(self, inputs: int, outputs: int) -> tuple[int, int]:
        """Return (outputs, 1)."""
        return outputs, 1

    def update(self, module: nn.Module, inputs: Tensor, output: Tensor, values: Values) -> Tensor:
        """Return the scaled output."""
        return output * values[SCALE].mT


@dataclass(frozen=True)
class ScaledInputs(_Scaled):
    """Every input of a module times a learned number, as the paper's scripts use (IA)³."""

    reads_weights: ClassVar[bool] = True

    def shape(self, inputs: int, outputs: int) -> tuple[int, int]:
        """Return (1, inputs)."""
        return 1, inputs

    def update(self, module: nn.Module, inputs: Tensor, output: Tensor, values: Values) -> Tensor:
        """Return the output for scaled inputs."""
        scaled: Tensor = (inputs * values[SCALE]) @ weight_of(module).to(inputs.dtype).T
        bias = bias_of(module)
        return scaled if bias is None else scaled + bias
