"""What a kind of adapter is: its sizes, its form in PEFT, and what it does to a network.

Each kind is one module beside this one, and a line in `registry.py`. A kind has two halves: the `AdapterKind`, which a
person chooses and sizes, and the `Effect`, which any adapter of that kind has, whoever trained it.

An effect is told of adapters as groups: tensors with a first axis over adapters, or over the rows of a batch, each with
its adapter's own, so that many act in one batched product.
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
"""How the names of tensors on modules begin in PEFT's file."""

Values = Mapping[str, Float[Tensor, "groups *shape"]]
"""An adapter's tensors at one module, named as behind the module's name in PEFT's file, for each group."""
Shapes = Mapping[str, torch.Size]
"""The shapes of an adapter's tensors, by their names in PEFT's file."""


class Effect(ABC):
    """What adapters of a kind do to a network, and the tensors that they do it with."""

    suffixes: ClassVar[tuple[str, ...]]
    """How the names of the trained tensors end in PEFT's file."""
    shared: ClassVar[tuple[str, ...]] = ()
    """Names of tensors in PEFT's file that aren't trained and serve all modules."""
    by_adapter: ClassVar[bool] = False
    """Whether the rows of an adapter always form one group, as whole matrices are too large for a copy with each row.
    For others each row is a group where the adapters' rows don't lie side by side in equal numbers."""
    reads_weights: ClassVar[bool] = False
    """Whether it computes with the modules' own weights, which quantised ones can't give."""
    in_bfloat16: ClassVar[bool] = False
    """Whether it computes in bfloat16 on a network of that dtype, sums in float32 within each product; elsewhere, and
    without this, it computes in float32."""

    @property
    def virtual_tokens(self) -> int:
        """Tokens that stand before every text."""
        return 0

    @property
    def dropout_rate(self) -> float:
        """The share of inputs that is left out while training."""
        return 0.0

    @abstractmethod
    def shapes(self, network: PreTrainedModel, configuration: PeftConfig) -> Shapes | None:
        """The names and shapes of the trained tensors of any adapter of this network; nothing is computed for it.

        None where the configuration names modules that this effect can't act on, such as embeddings.
        """

    @abstractmethod
    def fresh(self, network: PreTrainedModel, configuration: PeftConfig) -> dict[str, Tensor]:
        """The tensors that training starts from, in float32 on the CPU, drawn from torch's own generator."""

    def check_runs_on(self, network: PreTrainedModel) -> None:
        """Refuse a network whose weights aren't at hand, where this computes with them. Raises InputError."""
        if self.reads_weights:
            check_plain_weights(network, "this adapter computes with", "Use lora without dora, or plain weights.")

    def bound(self, shared: Mapping[str, Tensor]) -> "Effect":
        """The effect with the tensors that serve all modules."""
        del shared
        return self


class ModuleEffect(Effect):
    """An effect on what single modules give."""

    @abstractmethod
    def update(
        self,
        module: nn.Module,
        inputs: Float[Tensor, "groups tokens inputs"],
        output: Float[Tensor, "groups tokens outputs"],
        values: Values,
    ) -> Float[Tensor, "groups tokens outputs"]:
        """What a module gives with adapters, from what it gives alone; both are float32."""


class AdditiveEffect(Effect):
    """An effect that is added to what single modules give, whose own outputs are left in the dtype that they have."""

    @abstractmethod
    def delta(
        self, module: nn.Module, inputs: Float[Tensor, "groups tokens inputs"], values: Values
    ) -> Float[Tensor, "groups tokens outputs"]:
        """What is added, in the inputs' dtype."""

    def added(
        self,
        module: nn.Module,
        inputs: Float[Tensor, "groups tokens inputs"],
        output: Float[Tensor, "groups tokens outputs"],
        values: Values,
    ) -> Float[Tensor, "groups tokens outputs"]:
        """The module's output and what is added to it, in the output's dtype."""
        return output + self.delta(module, inputs, values).to(output.dtype)


class VirtualTokens(Effect):
    """An effect that changes no module, and puts tokens before every text."""

    suffixes: ClassVar[tuple[str, ...]] = ("prompt_embeddings",)

    @abstractmethod
    def cache(self, network: PreTrainedModel, values: Values) -> Cache:
        """Keys and values of the virtual tokens, a row for each group."""


@dataclass(frozen=True, kw_only=True)
class AdapterKind(ABC):
    """A kind of adapter with its sizes: what a person asks for."""

    kind: ClassVar[str]
    """Its name on the command line, in YAML files and in records."""
    learning_rates: ClassVar[tuple[float, ...]]
    """Those that are tried where none are given."""
    solvable: ClassVar[bool] = False
    """Whether alignment can be solved for it in closed form."""

    @abstractmethod
    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """PEFT's form of this for one network.

        Raises:
            InputError: the network's attention can't be found.
        """

    @classmethod
    @abstractmethod
    def effect_of(cls, configuration: PeftConfig) -> Effect | None:
        """What adapters of PEFT's configuration do; None where it is another kind's, or has settings not known here."""

    @property
    def virtual_tokens(self) -> int:
        """Tokens that it puts before every text."""
        return 0

    @property
    def needs_plain_weights(self) -> bool:
        """Whether it computes with the model's own weights, which quantised ones can't give."""
        return False

    @property
    def changed_sizes(self) -> dict[str, Any]:
        """The sizes that aren't as they are by default."""
        usual = type(self)()
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != getattr(usual, field.name)
        }

    def as_record(self, path: str | None) -> dict[str, Any]:
        """What a record says of an adapter of this kind that lies at `path`."""
        sizes = {field.name: getattr(self, field.name) for field in fields(self)}
        listed = {name: list(value) if isinstance(value, tuple) else value for name, value in sizes.items()}
        return {"kind": self.kind, "rank": None, "alpha": None, "modules": [], **listed, "path": path}

    @classmethod
    def label(cls, record: Mapping[str, Any]) -> str:
        """How an adapter of this kind is called in tables: its name, and what of its sizes isn't usual.

        Args:
            record: what `as_record` says of it.
        """
        modules = record.get("modules") or list(ATTENTION)
        letters = ",".join(module[0] for module in modules) if list(modules) != list(ATTENTION) else ""
        return " ".join(part for part in (cls.kind, *cls.unusual(record), letters) if part)

    @classmethod
    def unusual(cls, record: Mapping[str, Any]) -> list[str]:
        """What of its sizes isn't usual, apart from modules, in the words of tables."""
        del record
        return []


def check_modules(modules: Sequence[str]) -> None:
    """Refuse what names no projections.

    Raises:
        InputError: there is none, or one of another name.
    """
    if not modules:
        raise FieldError("modules", None, "at least one projection must be named.")
    if wrong := [name for name in modules if name not in get_args(Projection)]:
        raise FieldError("modules", wrong[0], f"there are {', '.join(get_args(Projection))}.")


def check_at_least_one(field: str, value: int) -> None:
    """Refuse a size under 1.

    Raises:
        FieldError: it is; names the field.
    """
    if value < 1:
        raise FieldError(field, value, "this must be 1 or more.")


def target_modules(network: PreTrainedModel, configuration: PeftConfig) -> dict[str, nn.Module]:
    """The modules that PEFT puts adapters of this configuration on, by their paths, in the network's order.

    Raises:
        InputError: it names none, and leaves them to PEFT's defaults.
    """
    if getattr(configuration, "target_modules", None) is None:
        raise InputError("the adapter's configuration names no modules (target_modules). Name those that it adapts.")
    return {
        path: module
        for path, module in network.named_modules()
        if path and check_target_module_exists(configuration, path)
    }


def linear_targets(network: PreTrainedModel, configuration: PeftConfig) -> dict[str, tuple[int, int]] | None:
    """What each targeted module takes and gives, by its path; None where one of them isn't linear."""
    sizes = {path: features(module) for path, module in target_modules(network, configuration).items()}
    known = {path: size for path, size in sizes.items() if size is not None}
    return known if len(known) == len(sizes) else None


def target_names(network: PreTrainedModel, projections: tuple[Projection, ...]) -> list[str]:
    """What PEFT is told so that it adapts these projections and nothing else.

    Raises:
        InputError: the network's attention can't be found.
    """
    names = projection_names(network, projections)
    # servers such as vLLM expect short names; they serve only where no module outside the attention block shares them
    short = sorted({name.rpartition(".")[2] for name in names})
    matched = {name for name, _ in network.named_modules() if name.rpartition(".")[2] in short}
    return short if matched == set(names) else names


def is_transposed(network: PreTrainedModel, projections: tuple[Projection, ...]) -> bool:
    """Whether the weights of these projections stand with inputs first, as GPT-2's do."""
    return isinstance(network.get_submodule(projection_names(network, projections)[0]), Conv1D)


# what PEFT's configurations say that changes nothing of what is computed, or says where an adapter is
DESCRIPTION = frozenset(
    {"task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"}
    | {"inference_mode", "runtime_config"}
)
PLACES = frozenset({"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out"})


def is_understood(configuration: PeftConfig, kind: type[PeftConfig], settings: frozenset[str]) -> bool:
    """Whether all of PEFT's settings that may change what is computed are known here, or as they are by default.

    Args:
        configuration: any of PEFT's.
        kind: the one that is known; PEFT derives other kinds from it, so that no subclass will do.
        settings: those that are read here, or that say where an adapter is and how it began.
    """
    if type(configuration) is not kind:
        return False
    default = kind()
    others = {field.name for field in fields(kind)} - DESCRIPTION - settings
    return all((getattr(configuration, name) or None) == (getattr(default, name) or None) for name in others)
