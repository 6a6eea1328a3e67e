"""The interface of a kind of adapter: its sizes, its PEFT configuration, and its effect on a network.

Each kind is one module beside this one, and a line in `registry.py`. A kind has two halves: the `AdapterKind`, which a
user chooses and sizes, and the `Effect`, which every adapter of that kind has, whoever trained it.

An effect gets the adapters' tensors in groups: the first axis runs over adapters, or over the rows of a batch with each
row's adapter, so that many adapters are applied in one batched product.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, get_args

import torch
from jaxtyping import Float
from peft import PeftConfig
from peft.tuners.tuners_utils import check_target_module_exists
from torch import Tensor, nn
from transformers import Cache, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ia2.errors import FieldError, InputError
from ia2.models.architecture_table import Projection
from ia2.models.architectures import projection_names
from ia2.models.linear_modules import features
from ia2.models.quantised import check_plain_weights

ATTENTION: tuple[Projection, ...] = ("query", "key", "output")
"""The projections that the paper adapts (appendix B)."""
PREFIX = "base_model.model."
"""Prefix of the names of modules' tensors in PEFT's file."""

Values = Mapping[str, Float[Tensor, "groups *shape"]]
"""An adapter's tensors at one module, for each group, by the suffix after the module's name in PEFT's file."""
Shapes = Mapping[str, torch.Size]
"""Shapes of an adapter's tensors, by their names in PEFT's file."""


class Effect(ABC):
    """The effect of a kind of adapter on a network, and the tensors it needs."""

    suffixes: ClassVar[tuple[str, ...]]
    """Suffixes of the trained tensors' names in PEFT's file."""
    shared: ClassVar[tuple[str, ...]] = ()
    """Names of tensors in PEFT's file that aren't trained and are used by all modules."""
    by_adapter: ClassVar[bool] = False
    """Whether the rows of an adapter always form one group, because whole matrices are too large to copy for each row.
    Otherwise each row is a group, unless the adapters' rows are contiguous and equally many."""
    reads_weights: ClassVar[bool] = False
    """Whether it computes with the modules' own weights, which must not be quantised then."""
    in_bfloat16: ClassVar[bool] = False
    """Whether it computes in bfloat16 on a bfloat16 network, with float32 accumulation within each product. Otherwise,
    and on other networks, it computes in float32."""

    @property
    def virtual_tokens(self) -> int:
        """Number of virtual tokens before every text."""
        return 0

    @property
    def dropout_rate(self) -> float:
        """Share of inputs dropped during training."""
        return 0.0

    @abstractmethod
    def shapes(self, network: PreTrainedModel, configuration: PeftConfig) -> Shapes | None:
        """Return the names and shapes of the trained tensors of adapters of this network, without computing anything.

        None if the configuration names modules that this effect doesn't support, such as embeddings.
        """

    @abstractmethod
    def fresh(self, network: PreTrainedModel, configuration: PeftConfig) -> dict[str, Tensor]:
        """Return the initial tensors, in float32 on the CPU, drawn from torch's global generator."""

    def check_runs_on(self, network: PreTrainedModel) -> None:
        """Refuse a network without plain weights, if this effect computes with them. Raises InputError."""
        if self.reads_weights:
            check_plain_weights(network, "this adapter computes with", "Use lora without dora, or plain weights.")

    def bound(self, shared: Mapping[str, Tensor]) -> "Effect":
        """Return the effect with the tensors that all modules share."""
        del shared
        return self


class ModuleEffect(Effect):
    """An effect on the outputs of single modules."""

    @abstractmethod
    def update(
        self,
        module: nn.Module,
        inputs: Float[Tensor, "groups tokens inputs"],
        output: Float[Tensor, "groups tokens outputs"],
        values: Values,
    ) -> Float[Tensor, "groups tokens outputs"]:
        """Return a module's output with adapters, given its output without them; both are float32."""


class AdditiveEffect(Effect):
    """An effect that is added to the outputs of single modules, which keep their dtype."""

    @abstractmethod
    def delta(
        self, module: nn.Module, inputs: Float[Tensor, "groups tokens inputs"], values: Values
    ) -> Float[Tensor, "groups tokens outputs"]:
        """Return the update to add, in the inputs' dtype."""

    def added(
        self,
        module: nn.Module,
        inputs: Float[Tensor, "groups tokens inputs"],
        output: Float[Tensor, "groups tokens outputs"],
        values: Values,
    ) -> Float[Tensor, "groups tokens outputs"]:
        """Return the module's output plus the update, in the output's dtype."""
        return output + self.delta(module, inputs, values).to(output.dtype)


class VirtualTokens(Effect):
    """An effect that changes no module, but puts virtual tokens before every text."""

    suffixes: ClassVar[tuple[str, ...]] = ("prompt_embeddings",)

    @abstractmethod
    def cache(self, network: PreTrainedModel, values: Values) -> Cache:
        """Return the cache of the virtual tokens, a row per group."""


@dataclass(frozen=True, kw_only=True)
class AdapterKind(ABC):
    """A kind of adapter with its sizes, as chosen by the user."""

    kind: ClassVar[str]
    """Name on the command line, in YAML files and in records."""
    learning_rates: ClassVar[tuple[float, ...]]
    """Learning rates to try if none are given."""
    solvable: ClassVar[bool] = False
    """Whether alignment has a closed-form solution for it."""

    @abstractmethod
    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """Return PEFT's configuration for a network.

        Raises:
            InputError: the network's attention can't be found.
        """

    @classmethod
    @abstractmethod
    def effect_of(cls, configuration: PeftConfig) -> Effect | None:
        """Return the effect of a PEFT configuration; None for other kinds, and for settings not supported here."""

    @property
    def virtual_tokens(self) -> int:
        """Number of virtual tokens before every text."""
        return 0

    @property
    def needs_plain_weights(self) -> bool:
        """Whether it computes with the model's own weights, which must not be quantised then."""
        return False

    @property
    def changed_sizes(self) -> dict[str, Any]:
        """Sizes that differ from the defaults."""
        defaults = type(self)()
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != getattr(defaults, field.name)
        }

    def as_record(self, path: str | None) -> dict[str, Any]:
        """Return the entries in a record of an adapter of this kind at `path`."""
        sizes = {field.name: getattr(self, field.name) for field in fields(self)}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in sizes.items()}
        return {"kind": self.kind, "rank": None, "alpha": None, "modules": [], **listed, "path": path}

    @classmethod
    def label(cls, record: Mapping[str, Any]) -> str:
        """Return an adapter's label in tables: the kind, and the sizes that differ from the usual ones.

        Args:
            record: the adapter's entries in a record, as from `as_record`.
        """
        modules = record.get("modules") or list(ATTENTION)
        letters = ",".join(module[0] for module in modules) if list(modules) != list(ATTENTION) else ""
        return " ".join(part for part in (cls.kind, *cls.unusual(record), letters) if part)

    @classmethod
    def unusual(cls, record: Mapping[str, Any]) -> list[str]:
        """Return the labels in tables of unusual sizes, except modules."""
        del record
        return []


def check_modules(modules: Sequence[str]) -> None:
    """Refuse names that aren't projections.

    Raises:
        InputError: there are no names, or one isn't a projection.
    """
    if not modules:
        raise FieldError("modules", None, "at least one projection must be named.")
    if unknown := [name for name in modules if name not in get_args(Projection)]:
        raise FieldError("modules", unknown[0], f"choose from {', '.join(get_args(Projection))}.")


def check_at_least_one(field: str, value: int) -> None:
    """Refuse a size below 1.

    Raises:
        FieldError: the value is below 1; the error names the field.
    """
    if value < 1:
        raise FieldError(field, value, "this must be 1 or more.")


def target_modules(network: PreTrainedModel, configuration: PeftConfig) -> dict[str, nn.Module]:
    """Return the modules that PEFT adapts with this configuration, by path, in the network's order.

    Raises:
        InputError: the configuration names no modules, leaving them to PEFT's defaults.
    """
    if getattr(configuration, "target_modules", None) is None:
        raise InputError("the adapter's configuration names no modules (target_modules). Name those that it adapts.")
    return {
        path: module
        for path, module in network.named_modules()
        if path and check_target_module_exists(configuration, path)
    }


def linear_targets(network: PreTrainedModel, configuration: PeftConfig) -> dict[str, tuple[int, int]] | None:
    """Return the input and output features of each targeted module, by path; None if one of them isn't linear."""
    sizes = {path: features(module) for path, module in target_modules(network, configuration).items()}
    known = {path: size for path, size in sizes.items() if size is not None}
    return known if len(known) == len(sizes) else None


def target_names(network: PreTrainedModel, projections: tuple[Projection, ...]) -> list[str]:
    """Return `target_modules` for PEFT that match these projections and nothing else.

    Raises:
        InputError: the network's attention can't be found.
    """
    names = projection_names(network, projections)
    # servers such as vLLM expect short names, which are ambiguous if modules outside attention have them too
    short = sorted({name.rpartition(".")[2] for name in names})
    matched = {name for name, _ in network.named_modules() if name.rpartition(".")[2] in short}
    return short if matched == set(names) else names


def is_transposed(network: PreTrainedModel, projections: tuple[Projection, ...]) -> bool:
    """Return whether the weights of these projections are stored (inputs, outputs), as in GPT-2."""
    return isinstance(network.get_submodule(projection_names(network, projections)[0]), Conv1D)


# PEFT's settings that don't affect the computation, and those that say which modules are adapted
DESCRIPTION = frozenset(
    {"task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"}
    | {"inference_mode", "runtime_config"}
)
PLACES = frozenset({"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out"})


def is_understood(configuration: PeftConfig, kind: type[PeftConfig], settings: frozenset[str]) -> bool:
    """Return whether every PEFT setting that may affect the computation is either handled here or has its default.

    Args:
        configuration: any PEFT configuration.
        kind: the class handled here; subclasses are refused, since PEFT derives other kinds from it.
        settings: settings that are handled here, or only concern the adapted modules and the initialisation.
    """
    if type(configuration) is not kind:
        return False
    default = kind()
    others = {field.name for field in fields(kind)} - DESCRIPTION - settings
    return all((getattr(configuration, name) or None) == (getattr(default, name) or None) for name in others)
