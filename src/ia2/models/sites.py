"""Where an architecture's attention output is, and recording it at the positions that predict response tokens.

All knowledge of architectures is in the table below. A network is recognised by its modules, not by its name, so that
a family built like a listed one works without an entry of its own.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel

from ia2.errors import InputError
from ia2.models.layout import Positions

Projection = Literal["query", "key", "value", "output"]
"""W_Q, W_K, W_V and W_O of the paper's equation 1."""


@dataclass(frozen=True)
class Architecture:
    """How a family names its layers, the attention block in each, and the block's projections."""

    layers: str
    attention: str
    query: str
    key: str
    value: str
    output: str
    feed_forward: str | None = "mlp"
    """The feed-forward block of a layer; None where its parts stand in the layer itself."""

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
    Architecture("model.decoder.layers", "self_attn", "q_proj", "k_proj", "v_proj", "out_proj", None),
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
            "ia2.models.sites.ARCHITECTURES."
        )
    return best


def attention_blocks(network: PreTrainedModel) -> list[nn.Module]:
    """The attention block of every layer, first to last. Raises as `architecture_of`."""
    architecture = architecture_of(network)
    return [layer.get_submodule(architecture.attention) for layer in _layers(network, architecture)]


def projection_names(network: PreTrainedModel, which: Sequence[Projection]) -> list[str]:
    """The full names of these projections' modules in every layer, each once, in the network's own naming."""
    architecture = architecture_of(network)
    names = [
        f"{architecture.layers}.{layer}.{architecture.attention}.{architecture.projection(projection)}"
        for layer in range(len(_layers(network, architecture)))
        for projection in which
    ]
    return list(dict.fromkeys(names))


def last_feed_forward(network: PreTrainedModel) -> nn.Module | None:
    """The feed-forward block of the last layer; None where the network's family isn't in the table or has no block."""
    for architecture in ARCHITECTURES:
        layers = _layers(network, architecture)
        if layers and architecture.feed_forward is not None and _fits(layers[-1], architecture):
            return getattr(layers[-1], architecture.feed_forward, None)
    return None


class AttentionOutputs:
    """The attention outputs recorded during one forward pass, filled while it runs."""

    def __init__(self, layers: int) -> None:
        self.by_layer: list[Float[Tensor, "n hidden"] | None] = [None] * layers

    def stacked(self) -> Float[Tensor, "layers n hidden"]:
        """All layers' outputs at the recorded positions.

        Raises:
            RuntimeError: a layer has recorded nothing: no forward pass was run, or it went around the block.
        """
        missing = [layer for layer, output in enumerate(self.by_layer) if output is None]
        if missing:
            raise RuntimeError(f"layers {missing} recorded no attention output: was a forward pass run?")
        return torch.stack([output for output in self.by_layer if output is not None])


@contextmanager
def record_attention(network: PreTrainedModel, at: Positions, *, detach: bool = False) -> Iterator[AttentionOutputs]:
    """Record the self-attention output after W_O (equation 1's Z) at these positions in every layer.

    The hooks are gone when the block is left, whatever happened inside.

    Args:
        network: a causal language model, with or without an adapter injected into it.
        at: where to record: one (row, column) for each response token.
        detach: keep no gradients (the teacher); the student's are kept.

    Raises:
        InputError: a layer's attention can't be found.
    """
    blocks = attention_blocks(network)
    outputs = AttentionOutputs(len(blocks))

    def hook(layer: int) -> Any:
        def keep(_module: nn.Module, _arguments: Any, output: Any) -> None:
            hidden: Tensor = output[0] if isinstance(output, tuple) else output
            kept = hidden[at.row, at.column]
            outputs.by_layer[layer] = kept.detach() if detach else kept

        return keep

    handles = [block.register_forward_hook(hook(layer)) for layer, block in enumerate(blocks)]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


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
