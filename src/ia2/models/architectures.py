"""Where a network has its parts: layers, the block that mixes tokens, its projections, feed-forward.

They are found by the entries of the table that fit. Layers of one network may be built differently, as those of hybrids
are, in which some layers attend and others have a recurrent state.
"""

from collections.abc import Sequence
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
    """The module that holds the layers."""
    parts: Sequence[LayerParts | None]
    """How each layer names its parts, first to last; None for a layer that mixes no tokens."""
    is_inferred: bool = False
    """Whether the table doesn't know the layers, and names and shapes of their modules told their parts."""

    @property
    def mixing(self) -> list[tuple[str, LayerParts]]:
        """The path of each layer that mixes tokens, and how it names its parts."""
        return [(f"{self.path}.{layer}", parts) for layer, parts in enumerate(self.parts) if parts is not None]


def architecture_of(network: PreTrainedModel) -> Architecture:
    """How this network is built, by the entries of the table that fit its layers, or as their modules leave no doubt.

    Raises:
        InputError: a layer mixes tokens in no way that is known: aligning the others alone would be a half-measure; or
            other libraries leave no way to adapt this kind.
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
    """How a network is built that the table doesn't know; None where that is in doubt."""
    config = network.config.get_text_config(decoder=True)
    candidates = []
    for path in layer_lists(network):
        parts = [_parts_of(layer) or inferred_parts(layer, config) for layer in _layers(network, path)]
        if all(parts):
            candidates.append(Architecture(path, parts, is_inferred=True))
    return candidates[0] if len(candidates) == 1 else None


def layers_of(network: PreTrainedModel) -> list[nn.Module]:
    """The layers, first to last. Raises as `architecture_of`."""
    return _layers(network, architecture_of(network).path)


def attention_blocks(network: PreTrainedModel) -> list[nn.Module]:
    """The block of every layer that mixes tokens, first to last. Raises as `architecture_of`."""
    return [network.get_submodule(f"{path}.{parts.block}") for path, parts in architecture_of(network).mixing]


def output_projections(network: PreTrainedModel) -> list[nn.Module]:
    """The module that multiplies by W_O in every layer that mixes tokens. Raises as `architecture_of`."""
    mixing = architecture_of(network).mixing
    return [network.get_submodule(f"{path}.{parts.block}.{parts.output}") for path, parts in mixing]


def attention_outputs(network: PreTrainedModel) -> list[nn.Module]:
    """The module that multiplies by W_O in every layer that attends, not in those that have a state.

    Raises:
        InputError: as `architecture_of`, or no layer attends.
    """
    attending = [(path, parts) for path, parts in architecture_of(network).mixing if not parts.recurrent]
    if not attending:
        raise InputError(f"{network.config.model_type}: no layer attends, all mix tokens by a state. Align all mixers.")
    return [network.get_submodule(f"{path}.{parts.block}.{parts.output}") for path, parts in attending]


def aligned_layers(network: PreTrainedModel, which: Literal["mixers", "attention"]) -> dict[str, Any]:
    """What a record says of the layers whose mixers are aligned: which, and their numbers from 0."""
    numbers = [
        layer
        for layer, parts in enumerate(architecture_of(network).parts)
        if parts is not None and not (parts.recurrent and which == "attention")
    ]
    return {"mixers": which, "layers": numbers}


def feed_forward_outputs(network: PreTrainedModel) -> list[nn.Module]:
    """The module of every layer whose output is the feed-forward block's, first to last. Raises as `architecture_of`.

    Raises:
        InputError: a layer's feed-forward block isn't where its family has it.
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
    """The full names of these projections' modules in every layer, each once, in the network's own naming.

    The output projection of a Mamba layer is left out where PEFT refuses it.

    Raises:
        InputError: as `architecture_of`, or a layer has none of them.
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


def feed_forward_blocks(network: PreTrainedModel) -> list[nn.Module]:
    """The feed-forward block of every layer; none where the network's family isn't in the table or has no blocks."""
    for path in _paths(network):
        layers = _layers(network, path)
        parts = _parts_of(layers[-1]) if layers else None
        if parts is not None and parts.feed_forward is not None:
            blocks = [getattr(layer, parts.feed_forward, None) for layer in layers]
            return [block for block in blocks if block is not None]
    return []


def last_feed_forward(network: PreTrainedModel) -> nn.Module | None:
    """The feed-forward block of the last layer, if nothing behind it looks at other tokens' outputs; else None.

    None as well where the network's family isn't in the table or has no block.
    """
    for path in _paths(network):
        # Inkling's layers mix the block's outputs of neighbouring tokens
        if any("conv" in name for layer in _layers(network, path)[-1:] for name, _ in layer.named_children()):
            return None
    blocks = feed_forward_blocks(network)
    return blocks[-1] if blocks else None


def _paths(network: PreTrainedModel) -> list[str]:
    """Where layers may be, from the network."""
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
