"""Locate a network's parts: layers, their mixers (the blocks that mix tokens), projections, feed-forward blocks.

Parts are identified by the table entries that fit. Layers of one network may differ, as in hybrids, where some layers
attend and others are recurrent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn
from transformers import PreTrainedModel

from ia2.errors import InputError
from ia2.models.architecture_table import (
    LAYER_PARTS,
    LAYERS,
    NO_MIXER,
    NOT_ADAPTABLE,
    ONLY_INPUTS_ADAPTED,
    LayerParts,
    Projection,
)
from ia2.models.inferred_parts import inferred_parts, layer_lists


@dataclass(frozen=True)
class Architecture:
    """Where a network's layers are, and how each is built."""

    path: str
    """Path of the module that holds the layers."""
    parts: Sequence[LayerParts | None]
    """Each layer's parts, in order; None for a layer without a mixer."""
    is_inferred: bool = False
    """Whether the parts were inferred from module names and shapes, because no table entry fits."""

    @property
    def mixing(self) -> list[tuple[str, LayerParts]]:
        """Return the path and the parts of each layer with a mixer."""
        return [(f"{self.path}.{layer}", parts) for layer, parts in enumerate(self.parts) if parts is not None]


def architecture_of(network: PreTrainedModel) -> Architecture:
    """Return how a network is built, from the table or, if its modules are unambiguous, inferred from them.

    Raises:
        InputError: a layer's mixer can't be identified (aligning only the others would be a half-measure), or other
            libraries give no way to adapt this model type.
    """
    if (reason := NOT_ADAPTABLE.get(network.config.model_type)) is not None:
        raise InputError(f"{network.config.model_type}: {reason}. Use a causal decoder such as Llama, Qwen or Gemma.")
    expected = network.config.get_text_config(decoder=True).num_hidden_layers
    most = 0
    for path in _paths(network):
        layers = _layers(network, path)
        parts = [_parts_of(layer) for layer in layers]
        known = [part is not None or _has_no_mixer(layer) for part, layer in zip(parts, layers, strict=True)]
        if len(layers) == expected and all(known) and any(parts):
            return Architecture(path, parts)
        most = max(most, sum(known))
    if (inferred := _inferred(network)) is not None:
        return inferred
    raise InputError(
        f"{network.config.model_type}: attention found in {most} of {expected} layers of {type(network).__name__}. "
        "IA2 needs it in every layer; use a decoder built of attention blocks, or add the architecture to "
        "ia2.models.architecture_table.LAYER_PARTS."
    )


def _inferred(network: PreTrainedModel) -> Architecture | None:
    """Return the architecture of a network that isn't in the table; None if its modules are ambiguous."""
    config = network.config.get_text_config(decoder=True)
    candidates = []
    for path in layer_lists(network):
        parts = [_parts_of(layer) or inferred_parts(layer, config) for layer in _layers(network, path)]
        if all(parts):
            candidates.append(Architecture(path, parts, is_inferred=True))
    return candidates[0] if len(candidates) == 1 else None


def layers_of(network: PreTrainedModel) -> list[nn.Module]:
    """Return the layers, in order. Raises as `architecture_of`."""
    return _layers(network, architecture_of(network).path)


def attention_blocks(network: PreTrainedModel) -> list[nn.Module]:
    """Return the mixer of every layer that has one, in order. Raises as `architecture_of`."""
    return [network.get_submodule(f"{path}.{parts.block}") for path, parts in architecture_of(network).mixing]


def output_projections(network: PreTrainedModel) -> list[nn.Module]:
    """Return the W_O module of every layer with a mixer, in order. Raises as `architecture_of`."""
    mixing = architecture_of(network).mixing
    return [network.get_submodule(f"{path}.{parts.block}.{parts.output}") for path, parts in mixing]


def attention_outputs(network: PreTrainedModel) -> list[nn.Module]:
    """Return the W_O module of every attention layer, in order, without recurrent layers.

    Raises:
        InputError: as `architecture_of`, or no layer attends.
    """
    attending = [(path, parts) for path, parts in architecture_of(network).mixing if not parts.recurrent]
    if not attending:
        raise InputError(f"{network.config.model_type}: no layer attends, all mix tokens by a state. Align all mixers.")
    return [network.get_submodule(f"{path}.{parts.block}.{parts.output}") for path, parts in attending]


def aligned_layers(network: PreTrainedModel, which: Literal["mixers", "attention"]) -> dict[str, Any]:
    """Return a record's entry on the layers whose mixers are aligned: the choice, and the layers' indices."""
    numbers = [
        layer
        for layer, parts in enumerate(architecture_of(network).parts)
        if parts is not None and not (parts.recurrent and which == "attention")
    ]
    return {"mixers": which, "layers": numbers}


def feed_forward_outputs(network: PreTrainedModel) -> list[nn.Module]:
    """Return the module of every layer whose output is that of the feed-forward block, in order.

    Raises:
        InputError: as `architecture_of`, or a layer's feed-forward block isn't where its family has it.
    """
    architecture = architecture_of(network)
    try:
        return [network.get_submodule(f"{path}.{parts.feed_forward_output}") for path, parts in architecture.mixing]
    except AttributeError as error:
        raise InputError(
            f"{network.config.model_type}: {str(error).lower()} in a layer of {type(network).__name__}, so that the "
            "feed-forward output can't be read. Align another site."
        ) from error


def projection_names(network: PreTrainedModel, which: Sequence[Projection]) -> list[str]:
    """Return the full module names of these projections in every layer, without duplicates.

    The output projection of a Mamba layer is left out if PEFT refuses it.

    Raises:
        InputError: as `architecture_of`, or a layer has none of the projections.
    """
    names: list[str] = []
    for path, parts in architecture_of(network).mixing:
        refused = {"output"} if parts.recurrent and network.config.model_type in ONLY_INPUTS_ADAPTED else set()
        modules = [parts.projection(projection) for projection in which if projection not in refused]
        modules = [name for name in modules if name is not None]
        if not modules:
            raise InputError(
                f"{network.config.model_type}: {path} has no module for {', '.join(which)} that can be adapted. Name "
                "query as well."
            )
        names += [f"{path}.{parts.block}.{name}" for name in modules]
    return list(dict.fromkeys(names))


def siblings_of(network: PreTrainedModel, paths: Iterable[str]) -> list[list[str]]:
    """Return those of these modules that are queries, keys and values of one layer, which read the same inputs.

    An empty list if the network's family isn't known. Latent attention's projections may still read other inputs.
    """
    try:
        mixing = architecture_of(network).mixing
    except InputError:
        return []
    known = set(paths)
    siblings = []
    for path, parts in mixing:
        names = dict.fromkeys(filter(None, (parts.query, parts.key, parts.value)))
        modules = [module for name in names if (module := f"{path}.{parts.block}.{name}") in known]
        siblings += [modules] * (len(modules) > 1)
    return siblings


def feed_forward_blocks(network: PreTrainedModel) -> list[nn.Module]:
    """Return every layer's feed-forward block; an empty list if the family isn't in the table or has no blocks."""
    for path in _paths(network):
        layers = _layers(network, path)
        parts = _parts_of(layers[-1]) if layers else None
        if parts is not None and parts.feed_forward is not None:
            blocks = [getattr(layer, parts.feed_forward, None) for layer in layers]
            return [block for block in blocks if block is not None]
    return []


def last_feed_forward(network: PreTrainedModel) -> nn.Module | None:
    """Return the last layer's feed-forward block; None if a later module mixes its outputs across tokens.

    Also None if the family isn't in the table or has no blocks.
    """
    for path in _paths(network):
        # Inkling's layers mix the block's outputs across neighbouring tokens
        if any("conv" in name for layer in _layers(network, path)[-1:] for name, _ in layer.named_children()):
            return None
    blocks = feed_forward_blocks(network)
    return blocks[-1] if blocks else None


def _paths(network: PreTrainedModel) -> list[str]:
    """Return the paths from the network at which layers may be."""
    inside = network.base_model_prefix if network.base_model is not network else "model"
    return [f"{inside}.{path}" for path in LAYERS]


def _layers(network: PreTrainedModel, path: str) -> list[nn.Module]:
    try:
        return list(network.get_submodule(path).children())
    except AttributeError:
        return []


def _parts_of(layer: nn.Module) -> LayerParts | None:
    return next((parts for parts in LAYER_PARTS if parts.fits(layer)), None)


def _has_no_mixer(layer: nn.Module) -> bool:
    for name in NO_MIXER:
        try:
            layer.get_submodule(name)
        except AttributeError:
            continue
        return True
    return False
