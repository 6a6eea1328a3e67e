"""Prefix tuning: learned keys and values of virtual tokens in every layer (Li and Liang 2021)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from peft import PeftConfig, PrefixTuningConfig
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

from ia2.adapters.kind import AdapterKind, Effect, Shapes, Values, VirtualTokens, check_at_least_one, is_understood
from ia2.errors import InputError
from ia2.models.architectures import layers_of
from ia2.models.placement import device_of
from ia2.models.prefix import prefill
from ia2.models.row_forms import check_reads_virtual_tokens

EMBEDDINGS = "prompt_embeddings"
"""PEFT's name for the tensor, although it holds keys and values."""
_SETTINGS = frozenset(
    {"num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"}
    | {"encoder_hidden_size", "init_weights"}
)


@dataclass(frozen=True, kw_only=True)
class PrefixTuning(AdapterKind):
    """Keys and values of virtual tokens in every layer (Li and Liang 2021), initialised to those of random words.

    Example:
        >>> PrefixTuning.label(PrefixTuning(tokens=3).as_record(None))
        'prefix 3 tokens'
    """

    tokens: int = 8
    """Number of virtual tokens."""
    kind: ClassVar[str] = "prefix"
    learning_rates: ClassVar[tuple[float, ...]] = (1e-3, 3e-3, 1e-2)

    def __post_init__(self) -> None:
        check_at_least_one("tokens", self.tokens)

    @property
    def virtual_tokens(self) -> int:
        """Number of virtual tokens before every text."""
        return self.tokens

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """PEFT's configuration for a network.

        Raises:
            InputError: its rows can't follow a cache, or its layers' keys and values aren't of one size.
        """
        check_reads_virtual_tokens(network)
        layers, heads, size = key_shape(network)
        _check_alike(network)
        return PrefixTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self.tokens,
            num_layers=layers,
            num_attention_heads=heads,
            token_dim=heads * size,
            encoder_hidden_size=heads * size,
        )

    @classmethod
    def effect_of(cls, configuration: PeftConfig) -> Effect | None:
        """Return learned keys and values; None for other kinds, and for a prefix computed by a projection network."""
        if not is_understood(configuration, PrefixTuningConfig, _SETTINGS):
            return None
        return LearnedPrefix(configuration.num_virtual_tokens)

    @classmethod
    def unusual(cls, record: Mapping[str, Any]) -> list[str]:
        """Return the number of tokens if it isn't 8."""
        return [f"{record['tokens']} tokens"] * (record.get("tokens") not in (None, 8))


@dataclass(frozen=True)
class LearnedPrefix(VirtualTokens):
    """Keys and values of virtual tokens in every layer (prefix tuning, Li and Liang 2021)."""

    tokens: int

    @property
    def virtual_tokens(self) -> int:
        """Number of virtual tokens before every text."""
        return self.tokens

    def shapes(self, network: PreTrainedModel, configuration: PeftConfig) -> Shapes:
        """Return the shape (tokens, 2 · layers · heads · size). Raises InputError if rows can't follow a cache."""
        check_reads_virtual_tokens(network)
        layers, heads, size = key_shape(network)
        return {EMBEDDINGS: torch.Size((self.tokens, 2 * layers * heads * size))}

    def fresh(self, network: PreTrainedModel, configuration: PeftConfig) -> dict[str, Tensor]:
        """Return keys and values of random words; PEFT's random numbers take longer to train."""
        token_ids = torch.randint(0, network.get_input_embeddings().weight.shape[0], (self.tokens,))
        return {EMBEDDINGS: self.flat(prefill(network, token_ids.tolist()).states).to("cpu", torch.float32)}

    def cache(self, network: PreTrainedModel, values: Values) -> Cache:
        """Return the cache of the learned values; PEFT orders them by token, layer, key before value, head, size."""
        layers, heads, size = key_shape(network)
        flat = values[EMBEDDINGS].to(network.dtype)
        states = flat.view(len(flat), self.tokens, layers, 2, heads, size).permute(2, 3, 0, 4, 1, 5)
        cache = DynamicCache()
        for number, (layer, (keys, value)) in enumerate(zip(layers_of(network), states, strict=True)):
            device = device_of(layer)
            cache.update(keys.to(device), value.to(device), number)
        return cache

    @staticmethod
    def flat(states: Sequence[tuple[Tensor, Tensor]]) -> Float[Tensor, "tokens values"]:
        """Return keys and values of each layer, (1, heads, tokens, size), in the layout of PEFT's file."""
        stacked = torch.stack([torch.stack([keys[0], value[0]]) for keys, value in states])
        return stacked.permute(3, 0, 1, 2, 4).flatten(1)


def key_shape(network: PreTrainedModel) -> tuple[int, int, int]:
    """Return the number of layers, of key heads in each, and the size of a head."""
    config = network.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return config.num_hidden_layers, heads, size


def _check_alike(network: PreTrainedModel) -> None:
    """Refuse layers that share keys, or whose keys and values differ in size, which PEFT's format can't represent."""
    layers, *shape = key_shape(network)
    states = prefill(network, [0]).states
    if len(states) < layers or any([*tensor[:, :, 0].shape[1:]] != shape for state in states for tensor in state):
        raise InputError(
            f"{network.config.model_type}: keys and values of its layers aren't of one size, as prefix tuning needs "
            "them. Use prompt, lora, ia3 or vera."
        )
