"""Small random models in llama.cpp's format, and what llama.cpp answers with them."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from benchmarks.shrunken import shrunken_network

# a process of its own, since llama.cpp ends its process where something is wrong
ASK = """
import json, sys
import xllamacpp

prompts, count, base, *adapters = json.loads(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path = base
params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in adapters]
params.n_ctx, params.n_parallel, params.n_gpu_layers, params.warmup = 256, 1, 0, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
server, settings = xllamacpp.Server(params), {"n_predict": 1, "temperature": 0, "n_probs": count, "cache_prompt": False}
answers = [server.handle_completions({"prompt": prompt, **settings}) for prompt in prompts]
print(json.dumps([answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"] for answer in answers]))
"""
_SAME_BASE = {"rope_type": "default", "rope_theta": 10000.0}
_GEMMA_3 = {"rope_parameters": {"sliding_attention": _SAME_BASE, "full_attention": _SAME_BASE}}
_GEMMA_4 = {"final_logit_softcapping": 30.0}
CHANGES: dict[str, dict[str, Any]] = {
    "gemma3": {"text_config": _GEMMA_3},
    "gemma3_text": _GEMMA_3,
    # queries are scaled beyond a length that no prompt here has
    "ministral3": {
        "rope_parameters": _SAME_BASE | {"llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 16384}
    },
    "gemma4": {"text_config": _GEMMA_4},
    "gemma4_text": _GEMMA_4,
    "gpt_oss": {"rope_parameters": _SAME_BASE},
    "lfm2": {"block_auto_adjust_ff_dim": False},
    "qwen3_vl": {"text_config": {"rope_parameters": _SAME_BASE | {"mrope_section": [2, 1, 1]}}},
    "qwen3_5_moe_text": {"linear_num_value_heads": 8},
    "qwen3_5": {"text_config": {"linear_num_value_heads": 8}},
    "qwen3_5_text": {"linear_num_value_heads": 8},
    "qwen3_moe": {"norm_topk_prob": True},
}
"""What llama.cpp assumes of a kind, or has no key for."""


def small_network(kind: str) -> PreTrainedModel:
    """A small network of this kind, all of whose weights, norms and biases are random."""
    network = shrunken_network(kind, CHANGES.get(kind, {}))
    generator = torch.Generator().manual_seed(3)
    for name, parameter in network.named_parameters():
        is_norm = parameter.ndim == 1 and name.endswith("weight")
        parameter.normal_(1.0 if is_norm else 0.0, 0.3 if parameter.ndim > 1 else 0.2, generator=generator)
    return network


def write_base(network: PreTrainedModel, path: Path, architecture: str, *, permuted: bool) -> None:
    """Write a network as llama.cpp's converter does.

    Args:
        network: the network; of a multimodal one its text decoder is written.
        path: the file.
        architecture: llama.cpp's name of it.
        permuted: whether rotary embeddings rotate adjacent pairs, so that rows of W_Q and W_K are reordered.
    """
    config = network.config.get_text_config()
    writer = gguf.GGUFWriter(path, architecture)
    _add_sizes(writer, config)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"t{token}" for token in range(config.vocab_size)])
    writer.add_token_types([gguf.TokenType.NORMAL] * config.vocab_size)
    writer.add_token_merges(["t 0"])
    writer.add_eos_token_id(0)
    known = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)
    names = gguf.get_tensor_name_map(known, config.num_hidden_layers)
    tied = network.get_output_embeddings().weight is network.get_input_embeddings().weight
    for key, tensor in network.state_dict().items():
        name = key.replace("model.language_model.", "model.")
        if re.search("vis(ion|ual)|projector", name) or (name == "lm_head.weight" and tied):
            continue
        for written, part in _parts(name, tensor, config, permuted=permuted):
            known_name = names.get_name(written, (".weight", ".bias")) or written
            assert not known_name.startswith("model."), f"llama.cpp has no tensor {written}"
            writer.add_tensor(known_name, part.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def next_token(prompt: list[int], base: Path, *adapters: Path) -> Float[Tensor, " vocabulary"]:
    """llama.cpp's log-probabilities of the token after a prompt."""
    (tokens,) = _likeliest([prompt], 1_000_000, base, *adapters)
    return torch.tensor([token["logprob"] for token in sorted(tokens, key=lambda token: token["id"])])


def next_texts(prompts: list[str], base: Path, *adapters: Path) -> list[tuple[str, float]]:
    """The text of llama.cpp's likeliest token after each prompt, which it tokenises itself, and its probability."""
    return [(token["token"], math.exp(token["logprob"])) for (token,) in _likeliest(prompts, 1, base, *adapters)]


def _likeliest(
    prompts: list[list[int]] | list[str], count: int, base: Path, *adapters: Path
) -> list[list[dict[str, Any]]]:
    arguments = json.dumps([prompts, count, str(base), *map(str, adapters)])
    asked = subprocess.run([sys.executable, "-c", ASK, arguments], capture_output=True, text=True, timeout=300)
    assert asked.returncode == 0, asked.stderr
    likeliest: list[list[dict[str, Any]]] = json.loads(asked.stdout.splitlines()[-1])
    return likeliest


def _add_sizes(writer: gguf.GGUFWriter, config: Any) -> None:
    rope = config.rope_parameters
    rope = rope if "rope_theta" in rope else rope["full_attention"]
    is_gemma_4 = config.model_type == "gemma4_text"
    if is_gemma_4:
        *_, head_size = (layer.head_dim for layer in config.per_layer_config)
    else:
        head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    epsilons = ("rms_norm_eps", "norm_epsilon", "norm_eps", "layer_norm_eps")
    epsilon = next((value for name in epsilons if (value := getattr(config, name, None))), 1e-5)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    kinds = getattr(config, "layer_types", None) or []
    has_convolutions = "conv" in kinds
    writer.add_head_count_kv(
        [config.num_key_value_heads * (kind != "conv") for kind in kinds]
        if has_convolutions
        else config.num_key_value_heads
    )
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    # where rotary frequencies are proportional, the tensor rope_freqs says which rows are rotated
    writer.add_rope_dimension_count(int(head_size * (1.0 if is_gemma_4 else rope.get("partial_rotary_factor", 1.0))))
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(epsilon)
    writer.add_layer_norm_eps(epsilon)
    for field, add in {
        "intermediate_size": writer.add_feed_forward_length,
        "sliding_window": writer.add_sliding_window,
        "attn_logit_softcapping": writer.add_attn_logit_softcapping,
        "final_logit_softcapping": writer.add_final_logit_softcapping,
        "attention_multiplier": writer.add_attention_scale,
        "embedding_multiplier": writer.add_embedding_scale,
        "residual_multiplier": writer.add_residual_scale,
        "logits_scaling": writer.add_logit_scale,
        "logit_scale": writer.add_logit_scale,
        "linear_conv_kernel_dim": writer.add_ssm_conv_kernel,
        "linear_key_head_dim": writer.add_ssm_state_size,
        "linear_num_key_heads": writer.add_ssm_group_count,
        "linear_num_value_heads": writer.add_ssm_time_step_rank,
        "conv_L_cache": writer.add_shortconv_l_cache,
        "num_experts": writer.add_expert_count,
        "num_local_experts": writer.add_expert_count,
        "num_experts_per_tok": writer.add_expert_used_count,
        "moe_intermediate_size": writer.add_expert_feed_forward_length,
        "shared_expert_intermediate_size": writer.add_expert_shared_feed_forward_length,
    }.items():
        if (value := getattr(config, field, None)) is not None:
            add(value)
    if is_gemma_4:
        size = config.per_layer_config[0].head_dim
        writer.add_key_length_swa(size)
        writer.add_value_length_swa(size)
        writer.add_rope_dimension_count_swa(size)
        writer.add_rope_freq_base_swa(config.rope_parameters["sliding_attention"]["rope_theta"])
        writer.add_sliding_window_pattern([kind == "sliding_attention" for kind in kinds])
        writer.add_embedding_length_per_layer_input(config.hidden_size_per_layer_input)
        writer.add_shared_kv_layers(config.num_kv_shared_layers)
        rotated = int(head_size * rope["partial_rotary_factor"] / 2)
        factors = torch.cat([torch.ones(rotated), torch.full((head_size // 2 - rotated,), 1e30)])
        writer.add_tensor("rope_freqs.weight", factors.numpy())
    if config.model_type == "gpt_oss":
        writer.add_expert_feed_forward_length(config.intermediate_size)
    if config.model_type.startswith("qwen3_5"):
        writer.add_ssm_inner_size(config.linear_num_value_heads * config.linear_value_head_dim)
        writer.add_full_attention_interval(4)
        writer.add_rope_dimension_sections([1, 0, 0, 0])
    if config.model_type == "qwen3_vl_text":
        writer.add_rope_dimension_sections([2, 1, 1, 0])
    if config.model_type == "stablelm":
        writer.add_parallel_residual(config.use_parallel_residual)


def _parts(name: str, tensor: Tensor, config: Any, *, permuted: bool) -> list[tuple[str, Tensor]]:
    """What llama.cpp's converter makes of a tensor: names, of transformers' or llama.cpp's own, and values."""
    layer = (re.search(r"layers\.(\d+)\.", name) or [None, None])[1]
    module = name.rpartition(f"layers.{layer}.")[2]
    if permuted and (projection := re.search(r"\.([qk])_proj\.", name)):
        heads = config.num_attention_heads if projection[1] == "q" else config.num_key_value_heads
        return [(name, tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(tensor.shape))]
    # these store how much a norm's weight differs from 1
    centred = ("gemma", "gemma2", "gemma3_text", "nemotron", "qwen3_5_text", "qwen3_5_moe_text")
    if config.model_type in centred and name.endswith("norm.weight") and "linear_attn" not in name:
        return [(name, tensor + 1)]
    if module.startswith("mlp.experts."):
        return _experts(f"blk.{layer}.ffn", module, tensor, config)
    if module == "layer_scalar":
        return [(f"blk.{layer}.layer_output_scale.weight", tensor)]
    if module == "self_attn.sinks":
        return [(f"blk.{layer}.attn_sinks.weight", tensor)]
    if module == "conv.conv.weight":
        return [(name, tensor.squeeze(1))]
    if module.startswith("linear_attn."):
        return [_of_linear_attention(f"blk.{layer}", name, module.removeprefix("linear_attn."), tensor, config)]
    return [(name, tensor)]


def _experts(stem: str, module: str, tensor: Tensor, config: Any) -> list[tuple[str, Tensor]]:
    """The tensors of a mixture's experts, whose gate and projection up transformers joins."""
    suffix = "bias" if module.endswith("_bias") else "weight"
    turned = config.model_type == "gpt_oss" and suffix == "weight"
    tensor = tensor.transpose(1, 2) if turned else tensor
    if "down_proj" in module:
        return [(f"{stem}_down_exps.{suffix}", tensor)]
    # GPT-OSS takes them in turn
    gate, up = (tensor[:, 0::2], tensor[:, 1::2]) if config.model_type == "gpt_oss" else tensor.chunk(2, dim=1)
    return [(f"{stem}_gate_exps.{suffix}", gate), (f"{stem}_up_exps.{suffix}", up)]


def _of_linear_attention(stem: str, name: str, module: str, tensor: Tensor, config: Any) -> tuple[str, Tensor]:
    """A tensor of a gated delta network; value heads of one key head are written apart from each other."""
    keys, size = config.linear_num_key_heads, config.linear_value_head_dim
    each = config.linear_num_value_heads // keys

    def tiled(rows: Tensor, size: int) -> Tensor:
        return rows.unflatten(0, (keys, each, size)).transpose(0, 1).flatten(0, 2)

    before = 2 * keys * config.linear_key_head_dim
    if module == "A_log":
        return name, -tiled(tensor, 1).exp()
    if module == "dt_bias":
        return f"{stem}.ssm_dt.bias", tiled(tensor, 1)
    if module.startswith(("in_proj_a.", "in_proj_b.")):
        return name, tiled(tensor, 1)
    if module.startswith("in_proj_z."):
        return name, tiled(tensor, size)
    if module.startswith("out_proj."):
        return name, tiled(tensor.T, size).T
    if module.startswith(("in_proj_qkv.", "conv1d.")):
        tensor = tensor.squeeze(1)
        return name, torch.cat([tensor[:before], tiled(tensor[before:], size)])
    return name, tensor
