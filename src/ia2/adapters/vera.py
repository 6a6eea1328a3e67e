"""VeRA: low-rank updates with learned scales over frozen random projections shared by all modules."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from peft import PeftConfig, VeraConfig
from torch import Tensor, nn
from transformers import PreTrainedModel

from ia2.adapters.kind import (
    ATTENTION,
    PLACES,
    PREFIX,
    AdapterKind,
    AdditiveEffect,
    Effect,
    Shapes,
    Values,
    check_at_least_one,
    check_modules,
    is_transposed,
    is_understood,
    linear_targets,
    target_names,
)
from ia2.models.architecture_table import Projection

B_SCALE, D_SCALE = "vera_lambda_b", "vera_lambda_d"
PROJECTIONS = ("base_model.vera_A", "base_model.vera_B")
_SETTINGS = PLACES | {"r", "projection_prng_key", "save_projection", "d_initial", "init_weights"}


@dataclass(frozen=True, kw_only=True)
class VeRA(AdapterKind):
    """Updates b ⊙ B(d ⊙ A) with learned b and d over fixed random A and B (Kopiczko et al. 2024).

    Example:
        >>> VeRA.label(VeRA(rank=64).as_record(None))
        'vera r64'
    """

    rank: int = 256
    """Rank of the shared projections."""
    modules: tuple[Projection, ...] = ATTENTION
    """Which projections are updated."""
    kind: ClassVar[str] = "vera"
    learning_rates: ClassVar[tuple[float, ...]] = (3e-3, 1e-2, 3e-2)

    def __post_init__(self) -> None:
        check_at_least_one("rank", self.rank)
        check_modules(self.modules)

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """PEFT's configuration for a network. Raises InputError if its attention can't be found."""
        return VeraConfig(
            r=self.rank,
            task_type="CAUSAL_LM",
            target_modules=target_names(network, self.modules),
            fan_in_fan_out=is_transposed(network, self.modules),
        )

    @classmethod
    def effect_of(cls, configuration: PeftConfig) -> Effect | None:
        """Return scaled shared projections; None for other kinds, and if the file doesn't hold the projections."""
        if not is_understood(configuration, VeraConfig, _SETTINGS) or not configuration.save_projection:
            return None
        return SharedProjections()

    @classmethod
    def unusual(cls, record: Mapping[str, Any]) -> list[str]:
        """Return the rank if it isn't 256."""
        return [f"r{record['rank']}"] * (record["rank"] != 256)


@dataclass(frozen=True)
class SharedProjections(AdditiveEffect):
    """W + diag(b) B diag(d) A (Kopiczko et al. 2024, equation 2); each module uses a slice of A and B."""

    a: Float[Tensor, "rank inputs"] | None = field(default=None, compare=False, repr=False)
    """Shared A, with the largest number of inputs of any module."""
    b: Float[Tensor, "outputs rank"] | None = field(default=None, compare=False, repr=False)
    """Shared B, with the largest number of outputs of any module."""
    suffixes: ClassVar[tuple[str, ...]] = (B_SCALE, D_SCALE)
    shared: ClassVar[tuple[str, ...]] = PROJECTIONS
    by_adapter: ClassVar[bool] = True

    def shapes(self, network: PreTrainedModel, configuration: PeftConfig) -> Shapes | None:
        """Return the shapes of b (outputs) and d (rank) of each module."""
        targets = linear_targets(network, configuration)
        if targets is None:
            return None
        shapes = {}
        for path, (_, outputs) in targets.items():
            shapes[f"{PREFIX}{path}.{B_SCALE}"] = torch.Size((outputs,))
            shapes[f"{PREFIX}{path}.{D_SCALE}"] = torch.Size((configuration.r,))
        return shapes

    def fresh(self, network: PreTrainedModel, configuration: PeftConfig) -> dict[str, Tensor]:
        """Return b = 0, so that the initial update is zero, d as in PEFT, and the projections that PEFT draws."""
        values = {B_SCALE: 0.0, D_SCALE: configuration.d_initial}
        shapes = self.shapes(network, configuration) or {}
        tensors = {name: torch.full(shape, values[name.rpartition(".")[2]]) for name, shape in shapes.items()}
        if not tensors:
            return {}
        targets = (linear_targets(network, configuration) or {}).values()
        generator = torch.Generator().manual_seed(configuration.projection_prng_key)
        sizes = (configuration.r, max(inputs for inputs, _ in targets)), (max(o for _, o in targets), configuration.r)
        for name, size in zip(PROJECTIONS, sizes, strict=True):
            # He's uniform initialisation, the second size being the number of inputs
            bound = math.sqrt(6 / size[1])
            tensors[name] = torch.empty(size).uniform_(-bound, bound, generator=generator)
        return tensors

    def bound(self, shared: Mapping[str, Tensor]) -> Effect:
        """Return the effect with its projections."""
        return replace(self, a=shared[PROJECTIONS[0]], b=shared[PROJECTIONS[1]])

    def delta(self, module: nn.Module, inputs: Tensor, values: Values) -> Tensor:
        """Return b ⊙ B(d ⊙ A x)."""
        assert self.a is not None and self.b is not None, "a bank has bound them"  # noqa: PT018
        b, d = values[B_SCALE][:, None], values[D_SCALE][:, None]
        down, up = self.a[:, : inputs.shape[-1]].to(inputs.device), self.b[: b.shape[-1]].to(inputs.device)
        return ((inputs @ down.T * d) @ up.T) * b
