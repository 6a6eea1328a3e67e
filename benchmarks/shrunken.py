"""A tiny network of any causal kind that transformers knows: its usual configuration with every size made small.

Sizes are recognised by the names of their fields, so that a kind that is new in transformers needs no entry here unless
it names its sizes as no other does.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    PreTrainedModel,
)

from ia2.models.auto_classes import auto_class_of

LAYERS = 4
VOCABULARY = 320
HIDDEN, HEADS, HEAD_SIZE, KEY_HEADS, WIDE = 32, 4, 8, 2, 48
LARGEST = 30_000_000
"""Parameters above which something wasn't made small."""

_NAMES: tuple[tuple[int, str], ...] = (
    (
        LAYERS,
        "num_hidden_layers depth n_layer n_layers num_layers decoder_layers encoder_layers num_blocks "
        "num_decoder_layers num_encoder_layers num_layers_per_stack",
    ),
    (
        HIDDEN,
        "hidden_size out_hidden_size embed_dim d_model n_embd emb_dim word_embed_proj_dim embedding_dim "
        "lru_width d_inner input_embedding_size output_embedding_size embedding_size linear_embed_dim "
        "attention_hidden_size mamba_d_ssm",
    ),
    (
        HEADS,
        "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads "
        "attention_heads swa_num_attention_heads num_decoder_attention_heads num_encoder_attention_heads "
        "num_query_groups linear_num_heads linear_num_value_heads linear_num_key_heads index_n_heads",
    ),
    (
        KEY_HEADS,
        "num_key_value_heads num_kv_heads swa_num_key_value_heads",
    ),
    (
        HEAD_SIZE,
        "head_dim kv_channels dim_head d_head swa_head_dim v_head_dim qk_nope_head_dim linear_key_head_dim "
        "linear_value_head_dim linear_head_dim attention_head_size index_head_dim global_head_dim "
        "query_pre_attn_scalar swa_v_head_dim",
    ),
    (
        WIDE,
        "intermediate_size ffn_dim n_inner ffn_hidden_size moe_intermediate_size decoder_ffn_dim "
        "encoder_ffn_dim dim_ff dff shared_expert_intermediate_size shared_intermediate_size "
        "intermediate_size_mlp expert_ffn_hidden_size shared_experts_intermediate_size "
        "dense_intermediate_size moe_shared_expert_intermediate_size feed_forward_size",
    ),
    (
        4,
        "num_experts n_routed_experts num_local_experts moe_num_experts router_hidden_size d_rel "
        "qk_rope_head_dim rotary_dim mamba_dt_rank o_lora_rank hc_lowrank gated_norm_rank loop_gate_rank "
        "zero_expert_num",
    ),
    (
        2,
        "num_experts_per_tok num_experts_per_token moe_topk moe_k attn_layer_period expert_layer_period "
        "layer_group_size first_k_dense_replace n_group num_expert_group n_groups",
    ),
    (
        1,
        "topk_group mamba_n_groups mamba_ngroups attn_layer_offset expert_layer_offset n_shared_experts "
        "num_mem_blocks num_nextn_predict_layers",
    ),
    (
        8,
        "mamba_d_state state_size ssm_state_size mamba_d_head mamba_headdim mamba_head_dim time_step_rank "
        "laurel_rank hidden_size_per_layer_input mamba_chunk_size chunk_size block_size adapter_rank "
        "index_topk",
    ),
    (
        16,
        "kv_lora_rank q_lora_rank keep_window_size num_random_blocks_",
    ),
    (
        # beyond what is read as a network is loaded, as real windows are, and shorter than prompts of the trial
        32,
        "sliding_window attention_chunk_size attention_window_size sliding_window_size local_attention window_size",
    ),
    (
        512,
        "max_position_embeddings n_positions max_seq_len n_ctx context_length max_target_positions",
    ),
    (
        VOCABULARY,
        "vocab_size vocab_size_per_layer_input unpadded_vocab_size",
    ),
)
SIZES = {name: size for size, names in _NAMES for name in names.split()}
"""The small size of each field."""


def causal_kinds() -> list[str]:
    """Every kind that transformers builds a causal language model of, in alphabetical order."""
    classes = set(MODEL_FOR_CAUSAL_LM_MAPPING.keys())
    return sorted(kind for kind, configuration in CONFIG_MAPPING.items() if configuration in classes)


def wrapped_kinds() -> list[str]:
    """Every other kind whose text decoder stands in a wrapper that reads pictures as well, in alphabetical order."""
    classes = set(MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING.keys()) - set(MODEL_FOR_CAUSAL_LM_MAPPING.keys())
    return sorted(kind for kind, configuration in CONFIG_MAPPING.items() if configuration in classes)


def shrunken_configuration(kind: str, changes: Mapping[str, Any] = {}) -> Any:
    """The usual configuration of a kind with all sizes small.

    Args:
        kind: as transformers calls it, such as "llama".
        changes: fields that are to be otherwise.
    """
    return _shrunken(CONFIG_MAPPING[kind], {**CHANGES.get(kind, {}), **changes})


def shrunken_network(kind: str, changes: Mapping[str, Any] = {}) -> PreTrainedModel:
    """A random network of a kind, frozen, in float32; always the same.

    Args:
        kind: as transformers calls it, such as "llama".
        changes: fields of its configuration that are to be otherwise.

    Raises:
        ValueError: it is still large, since it names a size as no other kind does, or it is no decoder.
    """
    configuration = shrunken_configuration(kind, changes)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        auto_class = auto_class_of(configuration)
        if auto_class is None:
            raise ValueError(f"{kind}: transformers loads no decoder by this configuration")
        with torch.device("meta"):
            size = sum(weight.numel() for weight in auto_class.from_config(configuration).parameters())
        if size > LARGEST:
            raise ValueError(f"{kind}: {size:,} parameters are left; name the size that is large in SIZES")
        network = auto_class.from_config(configuration, dtype=torch.float32)
        for parameter in network.parameters():
            # as they are made, matrices are so small that a mistake would be lost in rounding
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    return network.eval().requires_grad_(False)


def _shrunken(configuration: type, changes: Mapping[str, Any]) -> Any:
    usual = configuration()
    names = {field.name for field in dataclasses.fields(configuration)}
    values = vars(usual)
    small: dict[str, Any] = {}
    for name in names:
        value = values.get(name)
        if name in configuration.sub_configs and value is not None and not isinstance(value, dict):
            small[name] = _shrunken(type(value), changes.get(name, {})).to_dict()
        elif name.endswith("_token_id") and isinstance(value, int):
            small[name] = 0
        elif isinstance(value, int) and not isinstance(value, bool) and value > 0 and name in SIZES:
            small[name] = min(value, SIZES[name])
    layers = next((values[name] for name in _NAMES[0][1].split() if name in values), None)
    by_layer = {
        name: list(value)
        for name in names
        if isinstance(value := values.get(name), list | tuple) and layers and len(value) == layers
    }
    chosen = _chosen_layers(by_layer, layers or LAYERS)
    small |= {name: [value[layer] for layer in chosen] for name, value in by_layer.items()}
    if "kv_lora_rank" in names and "num_key_value_heads" in names:  # latent attention has keys for every head
        small["num_key_value_heads"] = HEADS
    if "is_decoder" in names:  # BERT and its kin read as encoders unless they are told
        small["is_decoder"] = True
    if usual.is_encoder_decoder:  # a decoder that is saved alone, as BART's may be
        small["is_encoder_decoder"] = False
    small |= {name: value for name, value in changes.items() if name not in configuration.sub_configs}
    return configuration(**small)


def _chosen_layers(by_layer: Mapping[str, list[Any]], layers: int) -> list[int]:
    """Which layers stay: the first of each kind, and as many of the first as make up the number."""
    kinds: dict[Any, int] = {}
    for layer in range(layers):
        for name, values in by_layer.items():
            kinds.setdefault((name, str(values[layer])), layer)
    first = sorted(set(kinds.values()))[:LAYERS]
    others = [layer for layer in range(layers) if layer not in first]
    return sorted((first + others)[:LAYERS])


_MAMBA_2 = {"mamba_n_heads": 8, "mamba_d_head": 8}
_PER_LAYER = {"layer_types": ["sliding_attention", "sliding_attention", "full_attention", "full_attention"]}
_MIXTURE = {"n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1}
_THREE_POSITIONS = {
    "text_config": {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]}}
}
CHANGES: dict[str, dict[str, Any]] = {
    "bamba": {**_MAMBA_2, "attn_layer_indices": [1, 3]},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}}},
    "deepseek_v2": {"num_experts_per_tok": 2, "num_key_value_heads": HEADS},
    "dots1": _MIXTURE,
    "falcon_h1": {**_MAMBA_2, "mamba_d_ssm": 64},
    "gemma3n_text": {"num_kv_shared_layers": 1, **_PER_LAYER},
    "gemma4_text": _PER_LAYER,
    **dict.fromkeys(("glm46v", "glm4v", "glm_ocr", "glmga"), _THREE_POSITIONS),
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granitemoehybrid": {
        **_MAMBA_2,
        "layer_types": ["mamba", "mamba", "attention", "mamba"],
    },
    "hunyuan_v1_dense": {"head_dim": HEAD_SIZE},
    "hunyuan_v1_moe": {"head_dim": HEAD_SIZE},
    "lfm2": {"layer_types": ["conv", "conv", "full_attention", "conv"]},
    "lfm2_moe": {"layer_types": ["conv", "conv", "full_attention", "conv"]},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "ministral": {"head_dim": HEAD_SIZE},
    "nemotron": {"num_key_value_heads": KEY_HEADS},
    "qwen2_5_vl": _THREE_POSITIONS,
    "qwen2_vl": _THREE_POSITIONS,
}
"""What of some kinds must be otherwise, so that their sizes go together."""
