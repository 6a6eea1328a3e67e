"""Export a LoRA as a GGUF file, which llama.cpp and Ollama apply to a GGUF of its base model.

Tensor names and metadata keys are those of llama.cpp's `convert_lora_to_gguf.py`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PretrainedConfig

from ia2.adapters.adapter import OTHER_MODULES, OTHER_SHAPES, Adapter
from ia2.adapters.kind import PREFIX
from ia2.adapters.lora import A, B, LowRank
from ia2.adapters.registry import effect_of
from ia2.cache import check_writable, written_whole
from ia2.errors import FieldError, InputError
from ia2.models.auto_classes import auto_class_of


@dataclass(frozen=True)
class GGUFFamily:
    """How llama.cpp represents a model family."""

    architecture: str
    """llama.cpp's name of the architecture."""
    permuted: bool = False
    """Whether the rows of W_Q and W_K are reordered: rotary embeddings rotate adjacent pairs instead of halves."""
    tiled: bool = False
    """Whether the value heads of gated delta networks are reordered: first the first one of each key head, then the
    second of each, and so on."""


FAMILIES = {
    "arcee": GGUFFamily("arcee", permuted=True),
    "cohere": GGUFFamily("command-r"),
    "cohere2": GGUFFamily("cohere2"),
    "ernie4_5": GGUFFamily("ernie4_5"),
    "gemma": GGUFFamily("gemma"),
    "gemma2": GGUFFamily("gemma2"),
    "gemma3_text": GGUFFamily("gemma3"),
    "gemma4_text": GGUFFamily("gemma4"),
    "glm": GGUFFamily("chatglm"),
    "glm4": GGUFFamily("glm4"),
    "gpt_oss": GGUFFamily("gpt-oss"),
    "granite": GGUFFamily("granite", permuted=True),
    "hunyuan_v1_dense": GGUFFamily("hunyuan-dense"),
    "lfm2": GGUFFamily("lfm2"),
    "llama": GGUFFamily("llama", permuted=True),
    "ministral3": GGUFFamily("mistral3", permuted=True),
    "mistral": GGUFFamily("llama", permuted=True),
    "mixtral": GGUFFamily("llama", permuted=True),
    "nemotron": GGUFFamily("nemotron"),
    "olmo": GGUFFamily("olmo", permuted=True),
    "olmo2": GGUFFamily("olmo2"),
    "olmo3": GGUFFamily("olmo2"),
    "phi": GGUFFamily("phi2"),
    "phi3": GGUFFamily("phi3"),
    "qwen2": GGUFFamily("qwen2"),
    "qwen2_moe": GGUFFamily("qwen2moe"),
    "qwen3": GGUFFamily("qwen3"),
    "qwen3_5_moe_text": GGUFFamily("qwen35moe", tiled=True),
    "qwen3_5_text": GGUFFamily("qwen35", tiled=True),
    "qwen3_moe": GGUFFamily("qwen3moe"),
    "qwen3_vl_text": GGUFFamily("qwen3vl"),
    "seed_oss": GGUFFamily("seed_oss"),
    "smollm3": GGUFFamily("smollm3", permuted=True),
    "stablelm": GGUFFamily("stablelm"),
    "starcoder2": GGUFFamily("starcoder2"),
}
"""Supported families by transformers' model type, of the text decoder if that is part of a multimodal model. In a slow
test llama.cpp runs a small model of each with an adapter, and its logits agree with ours."""


def check_gguf(adapter: Adapter, path: Path) -> LowRank:
    """Return the adapter's effect if it can be exported as GGUF to `path`.

    Raises:
        InputError: it can't, or `path` exists or isn't writable.
    """
    if path.exists():
        raise FieldError("gguf", path, "this already exists and is not overwritten. Name another file.")
    check_writable(path)
    effect = effect_of(adapter.configuration)
    if not isinstance(effect, LowRank):
        kind = adapter.as_record(None)["kind"]
        named = "DoRA" if getattr(adapter.configuration, "use_dora", False) else f"PEFT's kind {kind}"
        full = " of whole modules" if getattr(adapter.configuration, "modules_to_save", None) else ""
        raise FieldError(
            "gguf",
            None,
            f"llama.cpp reads adapters of plain LoRA alone, and this one is {named}{full}. Export "
            "merged weights, where its kind can be merged.",
        )
    return effect


def export_lora_gguf(adapter: Adapter, config: PretrainedConfig, path: Path, *, name: str) -> None:
    """Write a LoRA in llama.cpp's format, in float32.

    Args:
        adapter: a plain LoRA.
        config: the base model's configuration; its weights aren't needed.
        path: the file, which must not exist; written atomically.
        name: the adapter's name in the file.

    Raises:
        InputError: the adapter isn't a plain LoRA or was made for another model, the file exists, or the base model's
            family isn't in `FAMILIES`.
    """
    effect = check_gguf(adapter, path)
    text_config = config.get_text_config()
    family = FAMILIES.get(text_config.model_type)
    if family is None:
        raise FieldError(
            "gguf",
            None,
            f"of base models of the kind {config.model_type} it isn't known here how llama.cpp has them; known "
            f"are {', '.join(FAMILIES)}. Export merged weights, and convert those with llama.cpp's own program.",
        )
    _check_fits(adapter, effect, config)
    rank = adapter.configuration.r
    with written_whole(path) as partial:
        writer = gguf.GGUFWriter(partial, family.architecture)
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_name(name)
        writer.add_file_type(gguf.LlamaFileType.ALL_F32)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        # llama.cpp scales by alpha / rank, so alpha is set to give the effect's scaling
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, effect.scaling * rank)
        for tensor_name, tensor in _tensors(adapter, text_config, family):
            writer.add_tensor(tensor_name, tensor.to(torch.float32).contiguous().numpy())
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def _check_fits(adapter: Adapter, effect: LowRank, config: PretrainedConfig) -> None:
    """Check names and shapes against a network without weights, built from the base model's configuration."""
    with torch.device("meta"):
        network = auto_class_of(config).from_config(config)
    expected = effect.shapes(network, adapter.configuration) or {}
    shapes = {name: tensor.shape for name, tensor in adapter.weights.items()}
    if expected.keys() != shapes.keys():
        raise InputError(OTHER_MODULES)
    if dict(expected) != shapes:
        raise InputError(OTHER_SHAPES)


def _tensors(adapter: Adapter, config: PretrainedConfig, family: GGUFFamily) -> Iterator[tuple[str, Tensor]]:
    """Yield llama.cpp's name and the values of each factor."""
    architecture = next(arch for arch, known in gguf.MODEL_ARCH_NAMES.items() if known == family.architecture)
    names = gguf.get_tensor_name_map(architecture, config.num_hidden_layers)
    for key, tensor in adapter.weights.items():
        factor = A if key.endswith(A) else B
        module = key.removeprefix(PREFIX).removesuffix(f".{factor}")
        # llama.cpp has a multimodal model's text decoder in a file of its own
        module_name = names.get_name(module.replace("model.language_model.", "model."))
        if module_name is None:
            raise FieldError("gguf", None, f"llama.cpp's {family.architecture} has no module like {module}.")
        if factor == B and family.permuted and module.endswith(("q_proj", "k_proj")):
            query = module.endswith("q_proj")
            tensor = permuted(tensor, config.num_attention_heads if query else config.num_key_value_heads)
        if family.tiled and ".linear_attn." in module:
            tensor = _with_tiled_heads(tensor, factor, module.rpartition(".")[2], config)
        yield f"{module_name}.weight.lora_{'a' if factor == A else 'b'}", tensor


def permuted(rows: Float[Tensor, "outputs rank"], heads: int) -> Float[Tensor, "outputs rank"]:
    """Return each head's rows in llama.cpp's order: the first row of each half, then the second of each, and so on.

    Example:
        >>> permuted(torch.arange(8).float()[:, None], heads=2).flatten().tolist()
        [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]
    """
    return rows.reshape(heads, 2, -1, rows.shape[-1]).transpose(1, 2).reshape(rows.shape)


def _with_tiled_heads(tensor: Tensor, factor: str, projection: str, config: PretrainedConfig) -> Tensor:
    """Return a factor of a gated delta network's projection with the value heads in llama.cpp's order."""
    keys, size = config.linear_num_key_heads, config.linear_value_head_dim
    if projection == "out_proj":
        return tiled(tensor.T, keys, size).T if factor == A else tensor
    if factor == A:
        return tensor
    if projection == "in_proj_qkv":
        before = 2 * keys * config.linear_key_head_dim
        return torch.cat([tensor[:before], tiled(tensor[before:], keys, size)])
    return tiled(tensor, keys, size if projection == "in_proj_z" else 1)


def tiled(rows: Float[Tensor, "values n"], keys: int, size: int) -> Float[Tensor, "values n"]:
    """Return the rows of value heads in llama.cpp's order.

    Args:
        rows: `size` rows for each value head; those of one key head are adjacent.
        keys: number of key heads.
        size: rows of a value head.

    Example:
        >>> tiled(torch.arange(4).float()[:, None], keys=2, size=1).flatten().tolist()
        [0.0, 2.0, 1.0, 3.0]
    """
    return rows.reshape(keys, -1, size, rows.shape[-1]).transpose(0, 1).reshape(rows.shape)
