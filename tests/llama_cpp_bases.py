"""Small random models in llama.cpp's format, and what llama.cpp answers with them."""

import json
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

prompt, base, *adapters = json.loads(sys.argv[1])
params = xllamacpp.CommonParams()
params.model.path = base
params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 1.0) for path in adapters]
params.n_ctx, params.n_parallel, params.n_gpu_layers, params.warmup = 64, 1, 0, False
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
request = {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": 1_000_000, "cache_prompt": False}
answer = xllamacpp.Server(params).handle_completions(request)
tokens = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
print(json.dumps([token["logprob"] for token in sorted(tokens, key=lambda token: token["id"])]))
"""
_SAME_BASE = {"rope_type": "default", "rope_theta": 10000.0}
_GEMMA_3 = {"rope_parameters": {"sliding_attention": _SAME_BASE, "full_attention": _SAME_BASE}}
CHANGES: dict[str, dict[str, Any]] = {
    "gemma3": {"text_config": _GEMMA_3},
    "gemma3_text": _GEMMA_3,
    # queries are scaled beyond a length that no prompt here has
    "ministral3": {
        "rope_parameters": _SAME_BASE | {"llama_4_scaling_beta": 0.1, "original_max_position_embeddings": 16384}
    },
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
    for key, tensor in network.state_dict().items():
        name = key.replace("model.language_model.", "model.")
        if "vision" in name or "projector" in name or (name == "lm_head.weight" and config.tie_word_embeddings):
            continue
        if permuted and (projection := re.search(r"\.([qk])_proj\.", name)):
            heads = config.num_attention_heads if projection[1] == "q" else config.num_key_value_heads
            tensor = tensor.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(tensor.shape)
        # these store how much a norm's weight differs from 1
        if config.model_type in ("gemma", "gemma2", "gemma3_text", "nemotron") and name.endswith("norm.weight"):
            tensor = tensor + 1
        for written, part in _experts(name, tensor) or [(names.get_name(name, (".weight", ".bias")), tensor)]:
            assert written is not None, f"llama.cpp's {architecture} has no tensor {name}"
            writer.add_tensor(written, part.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def next_token(prompt: list[int], base: Path, *adapters: Path) -> Float[Tensor, " vocabulary"]:
    """llama.cpp's log-probabilities of the token after a prompt."""
    arguments = json.dumps([prompt, str(base), *map(str, adapters)])
    asked = subprocess.run([sys.executable, "-c", ASK, arguments], capture_output=True, text=True, timeout=300)
    assert asked.returncode == 0, asked.stderr
    return torch.tensor(json.loads(asked.stdout.splitlines()[-1]))


def _add_sizes(writer: gguf.GGUFWriter, config: Any) -> None:
    rope = config.rope_parameters
    rope = rope if "rope_theta" in rope else rope["full_attention"]
    head_size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    epsilons = ("rms_norm_eps", "norm_epsilon", "norm_eps", "layer_norm_eps")
    epsilon = next((value for name in epsilons if (value := getattr(config, name, None))), 1e-5)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_vocab_size(config.vocab_size)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_size)
    writer.add_value_length(head_size)
    writer.add_rope_dimension_count(int(head_size * rope.get("partial_rotary_factor", 1.0)))
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(epsilon)
    writer.add_layer_norm_eps(epsilon)
    for field, add in {
        "sliding_window": writer.add_sliding_window,
        "attn_logit_softcapping": writer.add_attn_logit_softcapping,
        "final_logit_softcapping": writer.add_final_logit_softcapping,
        "attention_multiplier": writer.add_attention_scale,
        "embedding_multiplier": writer.add_embedding_scale,
        "residual_multiplier": writer.add_residual_scale,
        "logits_scaling": writer.add_logit_scale,
        "logit_scale": writer.add_logit_scale,
        "num_experts": writer.add_expert_count,
        "num_local_experts": writer.add_expert_count,
        "num_experts_per_tok": writer.add_expert_used_count,
        "moe_intermediate_size": writer.add_expert_feed_forward_length,
        "shared_expert_intermediate_size": writer.add_expert_shared_feed_forward_length,
    }.items():
        if (value := getattr(config, field, None)) is not None:
            add(value)
    if config.model_type == "stablelm":
        writer.add_parallel_residual(config.use_parallel_residual)


def _experts(name: str, tensor: Tensor) -> list[tuple[str, Tensor]]:
    """The tensors of a mixture's experts, whose gate and projection up transformers joins; none for other tensors."""
    experts = re.search(r"layers\.(\d+)\..*experts\.(gate_up|down)_proj$", name)
    if experts is None:
        return []
    stem = f"blk.{experts[1]}.ffn"
    if experts[2] == "down":
        return [(f"{stem}_down_exps.weight", tensor)]
    gate, up = tensor.chunk(2, dim=1)
    return [(f"{stem}_gate_exps.weight", gate), (f"{stem}_up_exps.weight", up)]
