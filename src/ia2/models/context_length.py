"""How many tokens a network reads, such that a text's result doesn't depend on the texts beside it."""

from collections.abc import Iterator, Mapping
from typing import Any

from transformers import PretrainedConfig

LEARNED_LONG = "longrope"
"""Rotary frequencies with a second set, which is used for a whole batch if any of its texts is long (LongRoPE)."""


def context_length(config: PretrainedConfig) -> int | None:
    """Return the maximum number of tokens of a text, or None if the configuration doesn't say.

    With LongRoPE it is the length up to which the first set of rotary frequencies is used. A longer text would change
    the result of every other text in its batch, and of a prefix that was read before.

    Example:
        >>> context_length(model.network.config)
        512
    """
    decoder = config.get_text_config(decoder=True)
    positions = getattr(decoder, "max_position_embeddings", None) or getattr(decoder, "max_seq_len", None)
    lengths = [] if positions is None else [int(positions)]
    return min([*lengths, *_lengths_of_short_frequencies(decoder)], default=None)


def context_notes(config: PretrainedConfig, name: str) -> tuple[str, ...]:
    """Return a sentence if a model reads fewer tokens here than its configuration allows."""
    decoder = config.get_text_config(decoder=True)
    shorter = list(_lengths_of_short_frequencies(decoder))
    if not shorter:
        return ()
    return (
        f"Model {name}: texts of up to {min(shorter)} tokens are read. A longer one would change the rotary "
        f"frequencies ({LEARNED_LONG}) of all texts in its batch.",
    )


def _lengths_of_short_frequencies(decoder: PretrainedConfig) -> Iterator[int]:
    parameters: Mapping[str, Any] = getattr(decoder, "rope_parameters", None) or {}
    # some networks have parameters for each type of layer
    for of_layers in (parameters, *parameters.values()):
        if isinstance(of_layers, Mapping) and of_layers.get("rope_type") == LEARNED_LONG:
            length = of_layers.get("original_max_position_embeddings")
            if length is not None:
                yield int(length)
