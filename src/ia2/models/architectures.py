"""What each family of networks calls its parts: layers, the block that mixes tokens, its projections, feed-forward.

All knowledge of architectures is in the tables below. A network is recognised by its modules, not by its name, so that
a family built like a listed one works without an entry of its own. Layers of one network may be built differently, as
those of hybrids are, in which some layers attend and others have a recurrent state.
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
class LayerParts:
    """How a layer names the block that mixes tokens, the block's projections, and its feed-forward block."""

    block: str
    query: str
    key: str | None
    """None where a layer uses another one's keys and values."""
    value: str | None
    output: str
    feed_forward: str | None = "mlp"
    """The feed-forward block of a layer; None where its parts stand in the layer itself, or it is given more than the
    positions that it is to compute."""
    feed_forward_output: str = "mlp"
    """The module of a layer whose output is the feed-forward block's."""
    recurrent: bool = False
    """Whether tokens are mixed by a state, such as Mamba's, and not by attention."""

    def projection(self, which: Projection) -> str | None:
        """The module inside the block that holds this projection, or stands for it."""
        return {"query": self.query, "key": self.key, "value": self.value, "output": self.output}[which]

    def fits(self, layer: nn.Module) -> bool:
        """Whether a layer has all of these modules, each with a weight."""
        names = [name for name in (self.query, self.key, self.value, self.output) if name is not None]
        try:
            block = layer.get_submodule(self.block)
            return all(getattr(block.get_submodule(name), "weight", None) is not None for name in names)
        except AttributeError:
            return False


def _fused(block: str, inputs: str, output: str, feed_forward: str | None = "mlp") -> LayerParts:
    """Attention that multiplies by W_Q, W_K and W_V in one module, which then stands for all three."""
    return LayerParts(block, inputs, inputs, inputs, output, feed_forward)


def _recurrent(block: str, inputs: str, output: str) -> LayerParts:
    """A mixer with a state, whose input projection stands for W_Q, W_K and W_V, and its output projection for W_O."""
    return LayerParts(block, inputs, inputs, inputs, output, None, recurrent=True)


LAYERS = (
    "layers",
    "h",
    "decoder.layers",
    "language_model.layers",
    "text_model.layers",
    "blocks",
    "encoder.layer",
    "encoder.layers",
)
"""Where the layers are, inside the decoder."""

LAYER_PARTS = (
    # Llama, Qwen 2 and 3, Mistral, Gemma 2 and 3, OLMo 2
    LayerParts("self_attn", "q_proj", "k_proj", "v_proj", "o_proj"),
    # Moshi and Inkling 2, whose projections hold their matrix beside something else
    LayerParts("self_attn", "q_proj.linear", "k_proj.linear", "v_proj.linear", "o_proj.linear"),
    # Phi-3
    _fused("self_attn", "qkv_proj", "o_proj"),
    # GPT-2
    _fused("attn", "c_attn", "c_proj"),
    # GPT-NeoX, Pythia
    _fused("attention", "query_key_value", "dense"),
    # OPT, BART's decoder; LFM 2, whose layers have no fc2
    LayerParts("self_attn", "q_proj", "k_proj", "v_proj", "out_proj", None, "fc2"),
    # Phi 1 and 2
    LayerParts("self_attn", "q_proj", "k_proj", "v_proj", "dense"),
    # Persimmon, Fuyu
    _fused("self_attn", "query_key_value", "dense"),
    # GPT-J; CodeGen
    LayerParts("attn", "q_proj", "k_proj", "v_proj", "out_proj"),
    _fused("attn", "qkv_proj", "out_proj"),
    # GPT-Neo
    LayerParts("attn", "attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.out_proj"),
    # Bloom, whose feed-forward block is given the residual stream as well; Falcon
    _fused("self_attention", "query_key_value", "dense", None),
    # MPT, the same; DBRX
    _fused("attn", "Wqkv", "out_proj", None),
    _fused("norm_attn_norm.attn", "Wqkv", "out_proj", None),
    # ModernBERT as a decoder
    LayerParts("attn", "q_proj", "k_proj", "v_proj", "Wo"),
    # CTRL; CPM-Ant
    LayerParts("multi_head_attention", "Wq", "Wk", "Wv", "dense", None, "ffn"),
    LayerParts("self_att.self_attention", "project_q", "project_k", "project_v", "attention_out", None, "ffn.ffn"),
    # BERT and its kin as decoders
    LayerParts("attention", "self.query", "self.key", "self.value", "output.dense", None, "output.dense"),
    # latent attention: DeepSeek V2 and V3, whose keys and values come out of one projection
    LayerParts("self_attn", "q_b_proj", "kv_b_proj", "kv_b_proj", "o_proj"),
    LayerParts("self_attn", "q_proj", "kv_b_proj", "kv_b_proj", "o_proj"),
    LayerParts("self_attn", "q_gate_proj", "kv_b_proj", "kv_b_proj", "o_proj"),
    # DeepSeek V4
    LayerParts("self_attn", "q_b_proj", "kv_proj", "kv_proj", "o_b_proj"),
    # layers of Gemma 3n and 4 that use the keys and values of an earlier one
    LayerParts("self_attn", "q_proj", None, None, "o_proj"),
    # attention in Nemotron-H, in RecurrentGemma, and across to pictures in Llama 3.2
    LayerParts("mixer", "q_proj", "k_proj", "v_proj", "o_proj", None, "mixer"),
    LayerParts("temporal_block", "q_proj", "k_proj", "v_proj", "o_proj", None, "mlp_block"),
    # gated delta networks: Qwen 3.5, Qwen3-Next, OLMo hybrid
    _recurrent("linear_attn", "in_proj_qkv", "out_proj"),
    _recurrent("linear_attn", "in_proj_qkvz", "out_proj"),
    LayerParts("linear_attn", "q_proj", "k_proj", "v_proj", "o_proj", None, recurrent=True),
    # lightning attention: MiniMax
    _recurrent("self_attn", "qkv_proj", "out_proj"),
    # Mamba in hybrids, and alone; short convolutions: LFM 2 and 3
    _recurrent("mamba", "in_proj", "out_proj"),
    _recurrent("mixer", "in_proj", "out_proj"),
    _recurrent("conv", "in_proj", "out_proj"),
    # Zamba 2, whose layers with attention have a Mamba block as well
    _recurrent("mamba_decoder.mamba", "in_proj", "out_proj"),
    # RG-LRU: RecurrentGemma; RWKV; xLSTM
    LayerParts("temporal_block", "linear_x", "linear_y", "linear_x", "linear_out", None, "mlp_block", True),
    LayerParts("attention", "receptance", "key", "value", "output", None, "feed_forward", True),
    LayerParts("mlstm_layer", "q", "k", "v", "out_proj", None, "ffn", True),
)

NO_MIXER = ("mixer.down_proj", "mixer.experts", "cross_attn.q_proj")
"""What layers have that are nothing but a feed-forward block, as some of Nemotron-H's are, or that look at pictures, of
which a text has none, as some of Llama 3.2's do."""

ONLY_INPUTS_ADAPTED = frozenset({"falcon_mamba", "mamba", "mamba2", "nemotron_h"})
"""Kinds whose fast kernels multiply by W_O themselves, so that PEFT puts no adapter on that module."""


@dataclass(frozen=True)
class Architecture:
    """Where a network's layers are, and how each is built."""

    path: str
    """The module that holds the layers."""
    parts: Sequence[LayerParts | None]
    """How each layer names its parts, first to last; None for a layer that mixes no tokens."""

    @property
    def mixing(self) -> list[tuple[str, LayerParts]]:
        """The path of each layer that mixes tokens, and how it names its parts."""
        return [(f"{self.path}.{layer}", parts) for layer, parts in enumerate(self.parts) if parts is not None]


def architecture_of(network: PreTrainedModel) -> Architecture:
    """How this network is built, by the entries of the table that fit its layers.

    Raises:
        InputError: a layer mixes tokens in no way that is known: aligning the others alone would be a half-measure.
    """
    expected = network.config.get_text_config(decoder=True).num_hidden_layers
    most = 0
    for path in _paths(network):
        layers = _layers(network, path)
        parts = [_parts_of(layer) for layer in layers]
        known = [part is not None or _has_no_mixer(layer) for part, layer in zip(parts, layers, strict=True)]
        if len(layers) == expected and all(known) and any(parts):
            return Architecture(path, parts)
        most = max(most, sum(known))
    raise InputError(
        f"{network.config.model_type}: attention found in {most} of {expected} layers of {type(network).__name__}. "
        "IA2 needs it in every layer; use a decoder built of attention blocks, or add the architecture to "
        "ia2.models.architectures.LAYER_PARTS."
    )


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
