"""The tables of what each family of networks calls its parts: layers, the block that mixes tokens, its projections.

All knowledge of architectures is here. A network is recognised by its modules, not by its name, so that a family built
like a listed one works without an entry of its own.
"""

from dataclasses import dataclass
from typing import Literal

from torch import nn

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
    # Zaya, whose keys' and queries' neighbours are mixed and whose W_V is two modules: that of the token itself stands
    # for both; its experts are given more than positions
    LayerParts("self_attn", "qkv_proj.q_proj", "qkv_proj.k_proj", "qkv_proj.v_proj_current", "o_proj", None),
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

NOT_ADAPTABLE = {
    "jetmoe": "its W_Q and W_O are mixtures of experts, "
    "which PEFT adapts through target_parameters alone, not as modules",
    "xlm": "transformers has no layers of it, but lists of attention, norm and feed-forward blocks, "
    "and runs it as an encoder alone",
}
"""Kinds that other libraries leave no way to adapt, and why."""

ONLY_INPUTS_ADAPTED = frozenset({"falcon_mamba", "mamba", "mamba2", "nemotron_h"})
"""Kinds whose fast kernels multiply by W_O themselves, so that PEFT puts no adapter on that module."""
