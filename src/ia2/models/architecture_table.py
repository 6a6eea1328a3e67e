"""Tables of how each model family names its parts: the layers, the mixer of each, and the mixer's projections.

All knowledge of architectures is here. A network is recognised by its modules, not by its name, so a family built like
a listed one works without its own entry.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

Projection = Literal["query", "key", "value", "output"]
"""W_Q, W_K, W_V and W_O of the paper's equation 1."""


@dataclass(frozen=True)
class LayerParts:
    """How a layer names its mixer (the block that mixes tokens), its projections, and its feed-forward block."""

    block: str
    query: str
    key: str | None
    """None if the layer reuses another layer's keys and values."""
    value: str | None
    output: str
    feed_forward: str | None = "mlp"
    """The layer's feed-forward block; None if its parts are submodules of the layer itself, or if the block takes more
    inputs than the positions it transforms."""
    feed_forward_output: str = "mlp"
    """The layer's module whose output is that of the feed-forward block."""
    recurrent: bool = False
    """Whether the mixer is recurrent, such as Mamba, instead of attention."""

    def projection(self, which: Projection) -> str | None:
        """Return the module in the mixer that holds this projection, or stands for it."""
        return {"query": self.query, "key": self.key, "value": self.value, "output": self.output}[which]

    def fits(self, layer: nn.Module) -> bool:
        """Return whether a layer has all of these modules, each with a weight."""
        names = [name for name in (self.query, self.key, self.value, self.output) if name is not None]
        try:
            block = layer.get_submodule(self.block)
            return all(getattr(block.get_submodule(name), "weight", None) is not None for name in names)
        except AttributeError:
            return False


def _fused(block: str, inputs: str, output: str, feed_forward: str | None = "mlp") -> LayerParts:
    """Return the parts of attention with W_Q, W_K and W_V in a single module, which stands for all three."""
    return LayerParts(block, inputs, inputs, inputs, output, feed_forward)


def _recurrent(block: str, inputs: str, output: str) -> LayerParts:
    """Return a recurrent mixer's parts: its input projection stands for W_Q, W_K and W_V, its output one for W_O."""
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
"""Paths of the list of layers inside the decoder."""

LAYER_PARTS = (
    # Llama, Qwen 2 and 3, Mistral, Gemma 2 and 3, OLMo 2
    LayerParts("self_attn", "q_proj", "k_proj", "v_proj", "o_proj"),
    # Moshi and Inkling 2, whose projections wrap their linear module
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
    # Bloom, whose feed-forward block also takes the residual stream; Falcon
    _fused("self_attention", "query_key_value", "dense", None),
    # MPT, the same; DBRX
    _fused("attn", "Wqkv", "out_proj", None),
    _fused("norm_attn_norm.attn", "Wqkv", "out_proj", None),
    # ModernBERT as a decoder
    LayerParts("attn", "q_proj", "k_proj", "v_proj", "Wo"),
    # CTRL; CPM-Ant
    LayerParts("multi_head_attention", "Wq", "Wk", "Wv", "dense", None, "ffn"),
    LayerParts("self_att.self_attention", "project_q", "project_k", "project_v", "attention_out", None, "ffn.ffn"),
    # BERT and its relatives as decoders
    LayerParts("attention", "self.query", "self.key", "self.value", "output.dense", None, "output.dense"),
    # latent attention: DeepSeek V2 and V3, whose keys and values share one projection
    LayerParts("self_attn", "q_b_proj", "kv_b_proj", "kv_b_proj", "o_proj"),
    LayerParts("self_attn", "q_proj", "kv_b_proj", "kv_b_proj", "o_proj"),
    LayerParts("self_attn", "q_gate_proj", "kv_b_proj", "kv_b_proj", "o_proj"),
    # Zaya, which mixes neighbouring keys and queries. Its W_V is two modules; the one for the token itself stands for
    # both. Its experts take more inputs than the positions they transform
    LayerParts("self_attn", "qkv_proj.q_proj", "qkv_proj.k_proj", "qkv_proj.v_proj_current", "o_proj", None),
    # DeepSeek V4
    LayerParts("self_attn", "q_b_proj", "kv_proj", "kv_proj", "o_b_proj"),
    # layers of Gemma 3n and 4 that reuse the keys and values of an earlier layer
    LayerParts("self_attn", "q_proj", None, None, "o_proj"),
    # attention in Nemotron-H and RecurrentGemma; cross-attention to images in Llama 3.2
    LayerParts("mixer", "q_proj", "k_proj", "v_proj", "o_proj", None, "mixer"),
    LayerParts("temporal_block", "q_proj", "k_proj", "v_proj", "o_proj", None, "mlp_block"),
    # gated delta networks: Qwen 3.5, Qwen3-Next, OLMo hybrid
    _recurrent("linear_attn", "in_proj_qkv", "out_proj"),
    _recurrent("linear_attn", "in_proj_qkvz", "out_proj"),
    LayerParts("linear_attn", "q_proj", "k_proj", "v_proj", "o_proj", None, recurrent=True),
    # lightning attention: MiniMax
    _recurrent("self_attn", "qkv_proj", "out_proj"),
    # Mamba in hybrids and on its own; short convolutions: LFM 2 and 3
    _recurrent("mamba", "in_proj", "out_proj"),
    _recurrent("mixer", "in_proj", "out_proj"),
    _recurrent("conv", "in_proj", "out_proj"),
    # Zamba 2, whose attention layers also have a Mamba block
    _recurrent("mamba_decoder.mamba", "in_proj", "out_proj"),
    # RG-LRU: RecurrentGemma; RWKV; xLSTM
    LayerParts("temporal_block", "linear_x", "linear_y", "linear_x", "linear_out", None, "mlp_block", True),
    LayerParts("attention", "receptance", "key", "value", "output", None, "feed_forward", True),
    LayerParts("mlstm_layer", "q", "k", "v", "out_proj", None, "ffn", True),
)

NO_MIXER = ("mixer.down_proj", "mixer.experts", "cross_attn.q_proj")
"""Modules that identify layers without a mixer: pure feed-forward layers, as in Nemotron-H, and cross-attention to
images, as in Llama 3.2, which does nothing for text."""

NOT_ADAPTABLE = {
    "jetmoe": "its W_Q and W_O are mixtures of experts, "
    "which PEFT adapts through target_parameters alone, not as modules",
    "xlm": "transformers has no layers of it, but lists of attention, norm and feed-forward blocks, "
    "and runs it as an encoder alone",
}
"""Model types that can't be adapted because of transformers or PEFT, and why."""

ONLY_INPUTS_ADAPTED = frozenset({"falcon_mamba", "mamba", "mamba2", "nemotron_h"})
"""Model types whose fused kernels apply W_O themselves, so PEFT refuses an adapter on that module."""
