"""What each family of networks calls its parts: layers, attention and feed-forward blocks, projections.

All knowledge of architectures is in the table below. A network is recognised by its modules, not by its name, so that
a family built like a listed one works without an entry of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn
from transformers import PreTrainedModel

from ia2.errors import InputError

Projection = Literal["query", "key", "value", "output"]
"""W_Q, W_K, W_V and W_O of the paper's equation 1."""


@dataclass(frozen=True)
class Architecture:
    """How a family names its layers, the blocks in each, and the attention block's projections."""

    layers: str
    attention: str
    query: str
    key: str
    value: str
    output: str
    feed_forward: str | None = "mlp"
    """The feed-forward block of a layer; None where its parts stand in the layer itself."""
    feed_forward_output: str = "mlp"
    """The module of a layer whose output is the feed-forward block's."""

    def projection(self, which: Projection) -> str:
        """The module inside an attention block that holds this projection."""
        return {"query": self.query, "key": self.key, "value": self.value, "output": self.output}[which]


# Families that multiply by W_Q, W_K and W_V in one fused module name it three times.
ARCHITECTURES = (
    # Llama, Qwen 2 and 3, Mistral, Gemma 2 and 3, OLMo 2
    Architecture("model.layers", "self_attn", "q_proj", "k_proj", "v_proj", "o_proj"),
    # Phi-3
    Architecture("model.layers", "self_attn", "qkv_proj", "qkv_proj", "qkv_proj", "o_proj"),
    # GPT-2
    Architecture("transformer.h", "attn", "c_attn", "c_attn", "c_attn", "c_proj"),
    # GPT-NeoX, Pythia
    Architecture("gpt_neox.layers", "attention", "query_key_value", "query_key_value", "query_key_value", "dense"),
    # OPT
    Architecture("model.decoder.layers", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj", None, "fc2"),
)


def architecture_of(network: PreTrainedModel) -> Architecture:
    """The table's entry that fits every layer of this network.

    Raises:
        InputError: no entry fits, or it fits some layers only: aligning those alone would be a silent half-measure.
    """
    expected = network.config.get_text_config(decoder=True).num_hidden_layers
    best, most = ARCHITECTURES[0], -1
    for architecture in ARCHITECTURES:
        fitting = sum(_fits(layer, architecture) for layer in _layers(network, architecture))
        if fitting > most:
            best, most = architecture, fitting
    if most != expected:
        raise InputError(
            f"{network.config.model_type}: attention found in {most} of {expected} layers of {type(network).__name__}. "
            "IA2 needs it in every layer; use a decoder built of attention blocks, or add the architecture to "
            "ia2.models.architectures.ARCHITECTURES."
        )
    return best


def layers_of(network: PreTrainedModel) -> list[nn.Module]:
    """The layers, first to last. Raises as `architecture_of`."""
    return _layers(network, architecture_of(network))


def attention_blocks(network: PreTrainedModel) -> list[nn.Module]:
    """The attention block of every layer, first to last. Raises as `architecture_of`."""
    architecture = architecture_of(network)
    return [layer.get_submodule(architecture.attention) for layer in _layers(network, architecture)]


def output_projections(network: PreTrainedModel) -> list[nn.Module]:
    """The module that multiplies by W_O in every layer, first to last. Raises as `architecture_of`."""
    output = architecture_of(network).output
    return [block.get_submodule(output) for block in attention_blocks(network)]


def feed_forward_outputs(network: PreTrainedModel) -> list[nn.Module]:
    """The module of every layer whose output is the feed-forward block's, first to last. Raises as `architecture_of`.

    Raises:
        InputError: a layer's feed-forward block isn't where its family has it.
    """
    architecture = architecture_of(network)
    try:
        return [layer.get_submodule(architecture.feed_forward_output) for layer in _layers(network, architecture)]
    except AttributeError as error:
        raise InputError(
            f"{network.config.model_type}: no module {architecture.feed_forward_output} in a layer of "
            f"{type(network).__name__}, so that the feed-forward output can't be read. Align another site."
        ) from error


def projection_names(network: PreTrainedModel, which: Sequence[Projection]) -> list[str]:
    """The full names of these projections' modules in every layer, each once, in the network's own naming."""
    architecture = architecture_of(network)
    names = [
        f"{architecture.layers}.{layer}.{architecture.attention}.{architecture.projection(projection)}"
        for layer in range(len(_layers(network, architecture)))
        for projection in which
    ]
    return list(dict.fromkeys(names))


def feed_forward_blocks(network: PreTrainedModel) -> list[nn.Module]:
    """The feed-forward block of every layer; none where the network's family isn't in the table or has no blocks."""
    for architecture in ARCHITECTURES:
        layers = _layers(network, architecture)
        if layers and architecture.feed_forward is not None and _fits(layers[-1], architecture):
            blocks = [getattr(layer, architecture.feed_forward, None) for layer in layers]
            return [block for block in blocks if block is not None]
    return []


def last_feed_forward(network: PreTrainedModel) -> nn.Module | None:
    """The feed-forward block of the last layer; None where the network's family isn't in the table or has no block."""
    blocks = feed_forward_blocks(network)
    return blocks[-1] if blocks else None


def _layers(network: PreTrainedModel, architecture: Architecture) -> list[nn.Module]:
    try:
        return list(network.get_submodule(architecture.layers).children())
    except AttributeError:
        return []


def _fits(layer: nn.Module, architecture: Architecture) -> bool:
    try:
        block = layer.get_submodule(architecture.attention)
        for name in (architecture.query, architecture.key, architecture.value, architecture.output):
            block.get_submodule(name)
    except AttributeError:
        return False
    return True
