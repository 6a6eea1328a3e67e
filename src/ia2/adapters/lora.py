"""LoRA: low-rank updates of attention projections (Hu et al. 2021), with DoRA's magnitudes and rsLoRA's scaling."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from peft import LoraConfig, PeftConfig
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import Tensor, nn
from transformers import PreTrainedModel

from ia2.adapters.kind import (
    ATTENTION,
    PLACES,
    PREFIX,
    AdapterKind,
    AdditiveEffect,
    Effect,
    ModuleEffect,
    Shapes,
    Values,
    check_at_least_one,
    check_modules,
    is_transposed,
    is_understood,
    linear_targets,
    target_names,
)
from ia2.adapters.low_rank_products import JointReduction
from ia2.errors import FieldError
from ia2.models.architecture_table import Projection
from ia2.models.linear_modules import bias_of, weight_of

A, B, MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector"
NEUTRAL_BEGINNINGS = (True, False, "gaussian", "orthogonal", "eva")
"""Initialisations that leave the base model's weights unchanged."""
_SETTINGS = PLACES | {"r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "init_lora_weights"}
# details of initialisations, and settings left at their defaults
_SETTINGS |= {"modules_to_save", "eva_config", "corda_config", "lora_ga_config", "loftq_config", "megatron_core"}
_SETTINGS |= {"qalora_group_size"}


@dataclass(frozen=True, kw_only=True)
class LoRA(AdapterKind):
    """Low-rank updates of attention projections (Hu et al. 2021); the defaults are the paper's (appendix B).

    Example:
        >>> LoRA(rank=4, alpha=4).as_record(None)["modules"]
        ['query', 'key', 'output']
        >>> LoRA.label(LoRA(rank=4, alpha=4, dora=True).as_record(None))
        'lora r4 α4 dora'
    """

    rank: int = 8
    """Rank of each update."""
    alpha: int = 8
    """The update is scaled by alpha / rank."""
    modules: tuple[Projection, ...] = ATTENTION
    """Which projections are updated."""
    dora: bool = False
    """Learn the magnitude of each output separately from its direction (DoRA, Liu et al. 2024)."""
    rslora: bool = False
    """Scale by alpha / √rank instead (rsLoRA, Kalajdzievski 2023)."""
    dropout: float = 0.0
    """Dropout probability of the inputs of each update in training."""
    kind: ClassVar[str] = "lora"
    learning_rates: ClassVar[tuple[float, ...]] = (1e-4, 3e-4, 1e-3)
    solvable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_at_least_one("rank", self.rank)
        check_at_least_one("alpha", self.alpha)
        check_modules(self.modules)
        if not 0 <= self.dropout < 1:
            raise FieldError("dropout", self.dropout, "this must be 0 or more, and less than 1.")
        if self.dropout and self.dora:
            raise FieldError("dropout", self.dropout, "DoRA is trained without; leave one of them out.")

    @property
    def needs_plain_weights(self) -> bool:
        """Return whether magnitudes are learned: DoRA divides by norms of the weights."""
        return self.dora

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """Return PEFT's configuration for a network. Raises InputError if its attention can't be located."""
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            bias="none",
            use_dora=self.dora,
            use_rslora=self.rslora,
            task_type="CAUSAL_LM",
            target_modules=target_names(network, self.modules),
            fan_in_fan_out=is_transposed(network, self.modules),
        )

    @classmethod
    def effect_of(cls, configuration: PeftConfig) -> Effect | None:
        """Return LoRA's or DoRA's effect; None for other kinds and for unknown settings or initialisations."""
        if not is_understood(configuration, LoraConfig, _SETTINGS) or configuration.modules_to_save:
            return None
        beginning, targets = configuration.init_lora_weights, configuration.target_modules
        if beginning not in NEUTRAL_BEGINNINGS or targets == DUMMY_TARGET_MODULES:
            return None
        rank = configuration.r
        scaling = configuration.lora_alpha / (math.sqrt(rank) if configuration.use_rslora else rank)
        return Decomposed(scaling) if configuration.use_dora else LowRank(scaling, float(configuration.lora_dropout))

    @classmethod
    def unusual(cls, record: Mapping[str, Any]) -> list[str]:
        """Return rank and alpha unless both are 8, variants, and dropout."""
        parts = []
        if (record["rank"], record["alpha"]) != (8, 8):
            parts.append(f"r{record['rank']} α{record['alpha']}")
        parts += [flag for flag in ("dora", "rslora") if record.get(flag)]
        if record.get("dropout"):
            parts.append(f"dropout {record['dropout']:g}")
        return parts


@dataclass(frozen=True)
class LowRank(AdditiveEffect):
    """W + scaling · BA (Hu et al. 2021)."""

    scaling: float
    dropout: float = 0.0
    suffixes: ClassVar[tuple[str, ...]] = (A, B)
    in_bfloat16: ClassVar[bool] = True

    @property
    def dropout_rate(self) -> float:
        """Return the dropout probability of A's inputs in training."""
        return self.dropout

    def shapes(self, network: PreTrainedModel, configuration: PeftConfig) -> Shapes | None:
        """Return the shapes: A is (rank, inputs), B (outputs, rank)."""
        return _factor_shapes(network, configuration)

    def fresh(self, network: PreTrainedModel, configuration: PeftConfig) -> dict[str, Tensor]:
        """Draw A as PEFT does, and set B to zero, so that the initial update is zero."""
        return _fresh_factors(network, configuration)

    def delta(self, module: nn.Module, inputs: Tensor, values: Values) -> Tensor:
        """Return the scaled product of inputs, A and B."""
        return self.scaling * torch.bmm(torch.bmm(inputs, values[A].mT), values[B].mT)

    def added(self, module: nn.Module, inputs: Tensor, output: Tensor, values: Values) -> Tensor:
        """Return output plus delta, in one product if the output has the factors' dtype."""
        reduction = self.joint_reduction(values[A], 1)
        reduction.read(inputs, inputs)
        return reduction.added(0, module, output, values[B])

    def joint_reduction(self, a: Float[Tensor, "groups joined inputs"], members: int) -> JointReduction:
        """Return the product with the matrices A of several modules that read the same inputs."""
        return JointReduction(a, members, self.scaling)


@dataclass(frozen=True)
class Decomposed(ModuleEffect):
    """m · (W + scaling · BA) / ‖W + scaling · BA‖, with the norm treated as a constant (DoRA, Liu et al. 2024)."""

    scaling: float
    suffixes: ClassVar[tuple[str, ...]] = (A, B, MAGNITUDE)
    by_adapter: ClassVar[bool] = True
    reads_weights: ClassVar[bool] = True

    def shapes(self, network: PreTrainedModel, configuration: PeftConfig) -> Shapes | None:
        """Return LoRA's shapes, plus one magnitude per output."""
        return _factor_shapes(network, configuration, magnitudes=True)

    def fresh(self, network: PreTrainedModel, configuration: PeftConfig) -> dict[str, Tensor]:
        """Return LoRA's factors, and magnitudes in float32 that leave the modules unchanged.

        PEFT rounds magnitudes to the dtype of the weights, which changes the outputs of a network in half precision.
        """
        tensors = _fresh_factors(network, configuration)
        for path in linear_targets(network, configuration) or {}:
            weight = weight_of(network.get_submodule(path)).detach().to(torch.float32)
            tensors[f"{PREFIX}{path}.{MAGNITUDE}"] = torch.linalg.vector_norm(weight, dim=1).cpu()
        # in PEFT's order, module by module
        return {name: tensors[name] for name in self.shapes(network, configuration) or {}}

    def update(self, module: nn.Module, inputs: Tensor, output: Tensor, values: Values) -> Tensor:
        """Return the output with the update, each output feature rescaled to its magnitude; a bias is unchanged."""
        a, b, magnitude = (values[suffix] for suffix in self.suffixes)
        weight, bias = weight_of(module), bias_of(module)
        with torch.no_grad():
            norm = self._norm(weight.to(b.dtype), a, b)
        alone = output if bias is None else output - bias
        whole = torch.baddbmm(alone, torch.bmm(inputs, a.mT), b.mT, alpha=self.scaling)
        scaled: Tensor = whole * (magnitude / norm)[:, None]
        return scaled if bias is None else scaled + bias

    def _norm(
        self,
        weight: Float[Tensor, "outputs inputs"],
        a: Float[Tensor, "adapters rank inputs"],
        b: Float[Tensor, "adapters outputs rank"],
    ) -> Float[Tensor, "adapters outputs"]:
        """Return ‖W + scaling · BA‖ of each output, from the expanded square; no adapter's full weight is formed.

        ‖w + s b·A‖² = ‖w‖² + 2 s b·(A w) + s² b·(A Aᵀ) b, for each row w of W and b of B.
        """
        of_weight: Tensor = torch.linalg.vector_norm(weight, dim=1).square()
        crossed = (b * torch.matmul(weight, a.mT)).sum(2)
        of_update = (b * torch.bmm(b, torch.bmm(a, a.mT))).sum(2)
        return (of_weight + 2 * self.scaling * crossed + self.scaling**2 * of_update).clamp_min(0).sqrt()


def _factor_shapes(
    network: PreTrainedModel, configuration: PeftConfig, *, magnitudes: bool = False
) -> dict[str, torch.Size] | None:
    targets = linear_targets(network, configuration)
    if targets is None:
        return None
    rank, shapes = configuration.r, {}
    for path, (inputs, outputs) in targets.items():
        shapes[f"{PREFIX}{path}.{A}"] = torch.Size((rank, inputs))
        shapes[f"{PREFIX}{path}.{B}"] = torch.Size((outputs, rank))
        if magnitudes:
            shapes[f"{PREFIX}{path}.{MAGNITUDE}"] = torch.Size((outputs,))
    return shapes


def _fresh_factors(network: PreTrainedModel, configuration: PeftConfig) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for path, (inputs, outputs) in (linear_targets(network, configuration) or {}).items():
        # as in PEFT, so that a seed gives the same numbers: two layers draw their own, then A is drawn again
        down, up = nn.Linear(inputs, configuration.r, bias=False), nn.Linear(configuration.r, outputs, bias=False)
        nn.init.kaiming_uniform_(down.weight, a=math.sqrt(5))
        # PEFT rounds to the dtype of the weights; beside quantised weights (8 bits or fewer) values stay in float32
        dtype: torch.dtype = network.get_submodule(path).weight.dtype
        rounded: Float[Tensor, "rank inputs"] = down.weight.detach()
        if dtype.is_floating_point and dtype.itemsize > 1:
            rounded = rounded.to(dtype).to(torch.float32)
        tensors[f"{PREFIX}{path}.{A}"] = rounded
        tensors[f"{PREFIX}{path}.{B}"] = torch.zeros_like(up.weight)
    return tensors
