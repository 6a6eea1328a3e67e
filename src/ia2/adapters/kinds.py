"""The kinds of adapters: from a name and a size to PEFT's configuration, and from that to what a bank does."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar, Literal

from peft import IA3Config, LoraConfig, PeftConfig, PrefixTuningConfig, PromptTuningConfig
from peft.utils.constants import DUMMY_TARGET_MODULES
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ia2.adapters.forms import (
    Decomposed,
    Form,
    LearnedPrefix,
    LearnedPrompt,
    LowRank,
    Replaced,
    ScaledInputs,
    ScaledOutputs,
    key_shape,
)
from ia2.errors import InputError
from ia2.models.sites import Projection, projection_names

ATTENTION: tuple[Projection, ...] = ("query", "key", "output")
"""The projections that the paper adapts (appendix B)."""


class _Kind:
    """What all kinds have."""

    kind: ClassVar[str]
    """Its name."""
    learning_rates: ClassVar[tuple[float, ...]]
    """Those that are tried where none are given."""

    def as_record(self, path: str | None) -> dict[str, Any]:
        """What a record says of an adapter of this kind that lies at `path`."""
        own = {name: list(value) if isinstance(value, tuple) else value for name, value in vars(self).items()}
        return {"kind": self.kind, "rank": None, "alpha": None, "modules": [], **own, "path": path}


@dataclass(frozen=True, kw_only=True)
class LoRA(_Kind):
    """Low-rank updates of attention projections (Hu et al. 2021); the defaults are the paper's (appendix B)."""

    rank: int = 8
    """Rank of each update."""
    alpha: int = 8
    """The update is scaled by alpha / rank."""
    modules: tuple[Projection, ...] = ATTENTION
    """Which projections are updated."""
    dora: bool = False
    """Learn the magnitude of each output apart from its direction (DoRA, Liu et al. 2024)."""
    rslora: bool = False
    """Scale by alpha / √rank instead (rsLoRA, Kalajdzievski 2023)."""
    dropout: float = 0.0
    """The share of inputs that each update doesn't see at a training step."""
    kind: ClassVar[str] = "lora"
    learning_rates: ClassVar[tuple[float, ...]] = (1e-4, 3e-4, 1e-3)

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1 or not self.modules:
            raise InputError(f"LoRA: rank {self.rank}, alpha {self.alpha}, modules {self.modules}: all must be given.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"LoRA: dropout {self.dropout:g}: this must be 0 or more, and less than 1.")
        if self.dropout and self.dora:
            raise InputError(f"LoRA: dropout {self.dropout:g}: DoRA is trained without; leave one of them out.")

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """PEFT's form of this for one network. Raises InputError where its attention can't be found."""
        names = projection_names(network, self.modules)
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            bias="none",
            use_dora=self.dora,
            use_rslora=self.rslora,
            task_type="CAUSAL_LM",
            target_modules=_shortest(names, network),
            fan_in_fan_out=_transposed(names, network),
        )


@dataclass(frozen=True, kw_only=True)
class IA3(_Kind):
    """Learned scales of attention projections ((IA)³, Liu et al. 2022); learning rates are the paper's (appendix B)."""

    modules: tuple[Projection, ...] = ATTENTION
    """Which projections are scaled."""
    scale: Literal["output", "input"] = "output"
    """Whether their outputs are scaled, or their inputs, as in the paper's scripts (PROTOCOL, Student)."""
    kind: ClassVar[str] = "ia3"
    learning_rates: ClassVar[tuple[float, ...]] = (1e-3, 1e-2, 1e-1)

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """PEFT's form of this for one network. Raises InputError where its attention can't be found."""
        names = projection_names(network, self.modules)
        targets = _shortest(names, network)
        return IA3Config(
            task_type="CAUSAL_LM",
            target_modules=targets,
            feedforward_modules=targets if self.scale == "input" else [],
            fan_in_fan_out=_transposed(names, network),
        )


@dataclass(frozen=True, kw_only=True)
class PromptTuning(_Kind):
    """Embeddings of virtual tokens before every text (Lester et al. 2021), at first those of words drawn by chance."""

    tokens: int = 8
    """How many."""
    kind: ClassVar[str] = "prompt"
    learning_rates: ClassVar[tuple[float, ...]] = (1e-3, 3e-3, 1e-2)

    def __post_init__(self) -> None:
        _check_tokens(self.tokens)

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """PEFT's form of this for one network."""
        return PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self.tokens,
            prompt_tuning_init="SAMPLE_VOCAB",
            token_dim=network.get_input_embeddings().weight.shape[1],
        )


@dataclass(frozen=True, kw_only=True)
class PrefixTuning(_Kind):
    """Keys and values of virtual tokens in every layer (Li and Liang 2021), at first those of words drawn by chance."""

    tokens: int = 8
    """How many."""
    kind: ClassVar[str] = "prefix"
    learning_rates: ClassVar[tuple[float, ...]] = (1e-3, 3e-3, 1e-2)

    def __post_init__(self) -> None:
        _check_tokens(self.tokens)

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """PEFT's form of this for one network."""
        layers, heads, size = key_shape(network)
        return PrefixTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self.tokens,
            num_layers=layers,
            num_attention_heads=heads,
            token_dim=heads * size,
            encoder_hidden_size=heads * size,
        )


@dataclass(frozen=True, kw_only=True)
class FullFineTuning(_Kind):
    """Attention projections with weights of their own."""

    modules: tuple[Projection, ...] = ATTENTION
    """Which projections are trained."""
    kind: ClassVar[str] = "full"
    learning_rates: ClassVar[tuple[float, ...]] = (1e-5, 3e-5, 1e-4)

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """PEFT's form of this for one network: modules that are saved whole, beside an update of none."""
        return LoraConfig(
            task_type="CAUSAL_LM",
            target_modules=DUMMY_TARGET_MODULES,
            modules_to_save=projection_names(network, self.modules),
        )


AdapterKind = LoRA | IA3 | PromptTuning | PrefixTuning | FullFineTuning
ADAPTERS: Mapping[str, type[AdapterKind]] = MappingProxyType(
    {kind.kind: kind for kind in (LoRA, IA3, PromptTuning, PrefixTuning, FullFineTuning)}
)


NEUTRAL_BEGINNINGS = (True, False, "gaussian", "orthogonal", "eva")
"""LoRA's initialisations that leave the model's own weights as they are."""
_DESCRIPTION = {"task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"}
_DESCRIPTION |= {"inference_mode", "runtime_config"}
_PLACES = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out"}
_LORA = {"r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "init_lora_weights", "modules_to_save"}
# details of initialisations, and of settings that are left as they are
_LORA |= {"eva_config", "corda_config", "lora_ga_config", "loftq_config", "megatron_core", "qalora_group_size"}
_TOKENS = {"num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"}
_WORDS = {"prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"}
_UNDERSTOOD: Mapping[type[PeftConfig], set[str]] = MappingProxyType(
    {
        LoraConfig: _DESCRIPTION | _PLACES | _LORA,
        IA3Config: _DESCRIPTION | _PLACES | {"feedforward_modules", "init_ia3_weights"},
        PromptTuningConfig: _DESCRIPTION | _TOKENS | _WORDS,
        PrefixTuningConfig: _DESCRIPTION | _TOKENS | {"encoder_hidden_size", "init_weights"},
    }
)
"""PEFT's settings that `form_of` reads, or that say where an adapter is and how it began. Any other may change what is
computed, and has to be as it is by default."""


def form_of(configuration: PeftConfig) -> Form | None:
    """What adapters of this configuration do, where a bank can do it; None for PEFT's many other kinds and settings.

    `bank_of` tells whether it can do so at the modules that an adapter is attached to.
    """
    if not _is_understood(configuration):
        return None
    match configuration:
        case LoraConfig(init_lora_weights=beginning) if beginning not in NEUTRAL_BEGINNINGS:
            return None
        case LoraConfig(target_modules=targets, modules_to_save=[_, *_]) if targets == DUMMY_TARGET_MODULES:
            return Replaced()
        case LoraConfig() as lora if not lora.modules_to_save:
            scaling = lora.lora_alpha / (math.sqrt(lora.r) if lora.use_rslora else lora.r)
            return Decomposed(scaling) if lora.use_dora else LowRank(scaling, lora.lora_dropout)
        case IA3Config(feedforward_modules=inputs) if not inputs:
            # where they aren't named, PEFT chooses them
            return None if inputs is None else ScaledOutputs()
        case IA3Config(feedforward_modules=inputs, target_modules=targets) if inputs == targets:
            return ScaledInputs()
        case PromptTuningConfig():
            return LearnedPrompt(configuration.num_virtual_tokens)
        case PrefixTuningConfig():
            return LearnedPrefix(configuration.num_virtual_tokens)
    return None


def _is_understood(configuration: PeftConfig) -> bool:
    # PEFT derives other kinds from these, so that no subclass will do
    understood = _UNDERSTOOD.get(type(configuration))
    if understood is None:
        return False
    others = {field.name for field in fields(configuration)} - understood
    default = type(configuration)()
    return all((getattr(configuration, name) or None) == (getattr(default, name) or None) for name in others)


def _check_tokens(tokens: int) -> None:
    if tokens < 1:
        raise InputError(f"{tokens} virtual tokens: there must be at least one.")


def _transposed(names: Sequence[str], network: PreTrainedModel) -> bool:
    return isinstance(network.get_submodule(names[0]), Conv1D)


def _shortest(names: list[str], network: PreTrainedModel) -> list[str]:
    # servers such as vLLM expect short names; they serve only where no module outside the attention block shares them
    short = sorted({name.rpartition(".")[2] for name in names})
    matched = {name for name, _ in network.named_modules() if name.rpartition(".")[2] in short}
    return short if matched == set(names) else names
