"""Prompt tuning: learned embeddings of virtual tokens before every text (Lester et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from peft import PeftConfig, PromptTuningConfig
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel

from ia2.adapters.kind import AdapterKind, Effect, Shapes, Values, VirtualTokens, check_at_least_one, is_understood
from ia2.models.row_forms import check_reads_virtual_tokens

EMBEDDINGS = "prompt_embeddings"
_SETTINGS = frozenset(
    {"num_virtual_tokens", "token_dim", "num_transformer_submodules", "num_attention_heads", "num_layers"}
    | {"prompt_tuning_init", "prompt_tuning_init_text", "tokenizer_name_or_path", "tokenizer_kwargs"}
)


@dataclass(frozen=True, kw_only=True)
class PromptTuning(AdapterKind):
    """Embeddings of virtual tokens before every text (Lester et al. 2021), initialised to those of random words.

    Example:
        >>> PromptTuning.label(PromptTuning(tokens=3).as_record(None))
        'prompt 3 tokens'
    """

    tokens: int = 8
    """Number of virtual tokens."""
    kind: ClassVar[str] = "prompt"
    learning_rates: ClassVar[tuple[float, ...]] = (1e-3, 3e-3, 1e-2)

    def __post_init__(self) -> None:
        check_at_least_one("tokens", self.tokens)

    @property
    def virtual_tokens(self) -> int:
        """Number of virtual tokens before every text."""
        return self.tokens

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """PEFT's configuration for a network. Raises InputError if its rows can't follow a cache."""
        check_reads_virtual_tokens(network)
        return PromptTuningConfig(
            task_type="CAUSAL_LM",
            num_virtual_tokens=self.tokens,
            prompt_tuning_init="SAMPLE_VOCAB",
            token_dim=network.get_input_embeddings().weight.shape[1],
        )

    @classmethod
    def effect_of(cls, configuration: PeftConfig) -> Effect | None:
        """Return learned embeddings; None for other kinds."""
        if not is_understood(configuration, PromptTuningConfig, _SETTINGS):
            return None
        return LearnedPrompt(configuration.num_virtual_tokens)

    @classmethod
    def unusual(cls, record: Mapping[str, Any]) -> list[str]:
        """Return the number of tokens if it isn't 8."""
        return [f"{record['tokens']} tokens"] * (record.get("tokens") not in (None, 8))


@dataclass(frozen=True)
class LearnedPrompt(VirtualTokens):
    """Embeddings of virtual tokens, which the network reads like any others (prompt tuning, Lester et al. 2021)."""

    tokens: int

    @property
    def virtual_tokens(self) -> int:
        """Number of virtual tokens before every text."""
        return self.tokens

    def shapes(self, network: PreTrainedModel, configuration: PeftConfig) -> Shapes:
        """Return the shape (tokens, hidden). Raises InputError if the network's rows can't follow a cache."""
        check_reads_virtual_tokens(network)
        return {EMBEDDINGS: torch.Size((self.tokens, network.get_input_embeddings().weight.shape[1]))}

    def fresh(self, network: PreTrainedModel, configuration: PeftConfig) -> dict[str, Tensor]:
        """Return the embeddings of random words, the same ones that PEFT draws."""
        embeddings = network.get_input_embeddings()
        # PEFT first creates an embedding of this size, which consumes random numbers before the words are drawn
        nn.Embedding(self.tokens, embeddings.weight.shape[1])
        token_ids = torch.randint(0, embeddings.weight.shape[0], (self.tokens,))
        return {EMBEDDINGS: embeddings(token_ids.to(network.device)).detach().to("cpu", torch.float32)}

    def cache(self, network: PreTrainedModel, values: Values) -> Cache:
        """Return the network's cache after the virtual tokens, a row per group."""
        cache = DynamicCache()
        embeddings = values[EMBEDDINGS].to(network.dtype)
        network.base_model(inputs_embeds=embeddings, cache=cache, use_cache=True)
        return cache
