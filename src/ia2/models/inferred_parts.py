"""Infer the parts of a layer that no table entry fits, if the names and shapes of its modules are unambiguous.

A layer must have exactly one block with W_Q, W_K, W_V and W_O, each identified by its name and of the size that the
configuration implies; or the first three in a fused module. What was inferred is checked against what the network
computes when it is loaded (`ia2.models.residual_check`).
"""

import re
from collections.abc import Iterator

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ia2.models.architecture_table import LayerParts
from ia2.models.linear_modules import features

Sizes = tuple[int, int]
LETTERS = {"query": "q", "key": "k", "value": "v"}


def layer_lists(network: PreTrainedModel) -> list[str]:
    """Return the paths of all module lists with as many modules as the decoder has layers."""
    count = network.config.get_text_config(decoder=True).num_hidden_layers
    return [
        path for path, module in network.named_modules() if isinstance(module, nn.ModuleList) and len(module) == count
    ]


def inferred_parts(layer: nn.Module, config: PreTrainedConfig) -> LayerParts | None:
    """Return how a layer names its parts; None if its modules are ambiguous.

    Args:
        layer: one of a decoder's layers.
        config: the decoder's configuration.
    """
    if any(isinstance(module, nn.Conv1d) for module in layer.modules()):
        return None  # it may be recurrent
    candidates = list(_candidates(layer, config))
    # a wrapper around a single block has the same projections
    innermost = [
        parts
        for parts in candidates
        if not any(other.block.startswith(f"{parts.block}.") and other is not parts for other in candidates)
    ]
    return innermost[0] if len(innermost) == 1 else None


def _candidates(layer: nn.Module, config: PreTrainedConfig) -> Iterator[LayerParts]:
    for path, block in layer.named_modules():
        linear = {name: sizes for name, module in block.named_modules() if (sizes := features(module)) is not None}
        if path and (named := _projections(linear, config)) is not None:
            query, key, value, output = named
            yield LayerParts(path, query, key, value, output, feed_forward=None)


def _projections(linear: dict[str, Sizes], config: PreTrainedConfig) -> tuple[str, str, str, str] | None:
    """Return the names of W_Q, W_K, W_V and W_O among a block's linear modules; None if incomplete or ambiguous."""
    hidden, heads = config.hidden_size, getattr(config, "num_attention_heads", None)
    if heads is None:
        return None
    groups = getattr(config, "num_key_value_heads", None) or heads
    size = getattr(config, "head_dim", None) or hidden // heads
    of_queries, of_keys = (hidden, heads * size), (hidden, groups * size)
    if len(linear) == 2:
        fused = [name for name, sizes in linear.items() if sizes == (hidden, (heads + 2 * groups) * size)]
        outputs = [name for name, sizes in linear.items() if sizes == (heads * size, hidden)]
        return (*fused * 3, *outputs) if len(fused) == len(outputs) == 1 else None  # type: ignore[return-value]
    if len(linear) != 4:
        return None
    by_letter = {which: [name for name in linear if _is_called(name, which)] for which in LETTERS}
    if any(len(names) != 1 for names in by_letter.values()):
        return None
    query, key, value = (names[0] for names in by_letter.values())
    others = [name for name in linear if name not in (query, key, value)]
    if len(others) != 1 or linear[others[0]] != (heads * size, hidden):
        return None
    fits = linear[query] == of_queries and linear[key] == linear[value] == of_keys
    return (query, key, value, others[0]) if fits else None


def _is_called(name: str, which: str) -> bool:
    """Return whether a module's name denotes this projection: the word, or its letter with or without a `w` or `to`."""
    words = re.split(r"[._]", name.lower())
    letter = LETTERS[which]
    return any(word in (which, f"{which}s", letter, f"w{letter}", f"{letter}w") for word in words)
