"""Quantised weights. What needs bitsandbytes is left out where it isn't installed; the rest stands without it."""

from importlib.util import find_spec

import pytest
import torch
from conftest import byte_level_tokenizer, tiny_language_model, tiny_network
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

from ia2.adapters.adapter import Adapter, adapted, attached, bank_of, fresh_adapter
from ia2.adapters.export.merged import export_merged
from ia2.adapters.full import FullFineTuning
from ia2.adapters.ia3 import IA3
from ia2.adapters.lora import LoRA
from ia2.adapters.merging import merged
from ia2.adapters.prefix import PrefixTuning
from ia2.adapters.vera import VeRA
from ia2.errors import FieldError, InputError
from ia2.evaluation.evaluate import evaluate
from ia2.models import quantised
from ia2.models.load import load_model
from ia2.models.quantised import (
    check_plain_weights,
    keep_differentiable,
    quantisation_for,
    quantisation_in,
    quantisation_of,
)
from ia2.models.row_forms import PACKED, row_form_of
from ia2.prompting.fewshot import FewShotSet
from ia2.training.early_stopping import Training
from ia2.training.methods import METHODS
from ia2.training.teacher import collect_targets
from ia2.training.train import train

needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes isn't installed (pip install 'ia2[quantized]')"
)
BITS = pytest.mark.parametrize("bits", ["4bit", "8bit"])


@pytest.fixture
def folder(tmp_path):
    """A tiny model in the hub's layout, with as many inputs as a block of 4-bit numbers has."""
    path = tmp_path / "tiny"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(
            LlamaConfig(
                vocab_size=400,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=512,
                initializer_range=0.2,
            )
        ).save_pretrained(path)
    byte_level_tokenizer().save_pretrained(path)
    return path


def configured(**settings):
    config = LlamaConfig()
    config.quantization_config = settings
    return config


def test_a_checkpoint_says_how_it_is_quantised():
    assert quantisation_in(LlamaConfig()) is None
    assert quantisation_in(configured(quant_method="bitsandbytes", load_in_4bit=True)) == "4bit"
    assert quantisation_in(configured(quant_method="bitsandbytes", load_in_8bit=True)) == "8bit"
    assert quantisation_in(configured(quant_method="gptq", bits=4)) == "gptq"
    config = LlamaConfig()
    config.quantization_config = BitsAndBytesConfig(load_in_4bit=True)
    assert quantisation_in(config) == "4bit"


def test_a_plain_network_is_not_quantised(tiny_llama):
    assert quantisation_of(tiny_llama) is None
    check_plain_weights(tiny_llama, "this computes with", "Leave it.")


def test_another_quantisation_than_the_checkpoints_is_refused():
    with pytest.raises(FieldError, match=r"^load 8bit: m is quantised already \(4bit\); leave it out\.$"):
        quantisation_for("8bit", configured(load_in_4bit=True), torch.float32, "m")
    with pytest.raises(FieldError, match=r"^load 4bit: m is quantised already \(gptq\)"):
        quantisation_for("4bit", configured(quant_method="gptq"), torch.float32, "m")
    with pytest.raises(FieldError, match=r"^load 3bit: use 4bit or 8bit, or leave it out\.$"):
        quantisation_for("3bit", LlamaConfig(), torch.float32, "m")


def test_what_another_library_has_quantised_is_left_to_transformers():
    assert quantisation_for(None, configured(quant_method="gptq"), torch.float32, "m") is None
    assert quantisation_for(None, LlamaConfig(), torch.float32, "m") is None


def test_without_the_library_it_is_named_with_how_to_install_it(monkeypatch):
    monkeypatch.setattr(quantised, "find_spec", lambda _name: None)
    needs = r"4bit weights need bitsandbytes, which isn't installed: pip install 'ia2\[quantized\]'\.$"
    with pytest.raises(FieldError, match=rf"^load 4bit: {needs}"):
        quantisation_for("4bit", LlamaConfig(), torch.float32, "m")
    with pytest.raises(InputError, match=rf"^m: {needs}"):
        quantisation_for(None, configured(load_in_4bit=True), torch.float32, "m")


@needs_bitsandbytes
@BITS
def test_a_quantised_model_says_so_and_reads_like_the_plain_one(folder, bits):
    plain, model = load_model(folder, device="cpu"), load_model(folder, device="cpu", load=bits)
    assert (plain.identity.quantisation, model.identity.quantisation) == (None, bits)
    (sentence,) = (note for note in model.notes if "quantised" in note)
    assert sentence.startswith(f"Model tiny: weights are quantised ({bits}, as asked), and adapters are not")
    assert row_form_of(model.network) is PACKED
    projection = model.network.model.layers[0].self_attn.q_proj
    assert not projection.weight.dtype.is_floating_point
    assert model.network.lm_head.weight.dtype == torch.float32
    ids = torch.tensor([[5, 6, 7, 8]])
    expected, logits = plain.network(ids).logits, model.network(ids).logits
    # quarter of a step of 16 or 256 levels a weight, over two layers
    assert 0 < (logits - expected).norm() / expected.norm() < {"4bit": 0.5, "8bit": 0.05}[bits]


@needs_bitsandbytes
def test_four_bits_are_those_of_qlora(folder):
    network = load_model(folder, device="cpu", load="4bit").network
    state = network.model.layers[0].self_attn.q_proj.weight.quant_state
    assert (state.quant_type, state.nested, state.blocksize) == ("nf4", True, 64)
    assert network.model.layers[0].self_attn.q_proj.compute_dtype == torch.float32


def test_weights_are_never_repacked_for_products_without_gradients():
    # as bitsandbytes marks its modules on a CPU with bfloat16 instructions
    network = tiny_network("llama")
    projection = network.model.layers[0].self_attn.q_proj
    projection.support_avx512bf16_for_cpu = True
    keep_differentiable(network)
    assert projection.support_avx512bf16_for_cpu is False
    assert not hasattr(network.model.layers[1].self_attn.q_proj, "support_avx512bf16_for_cpu")


@needs_bitsandbytes
@BITS
def test_a_checkpoint_that_is_quantised_already_is_recognised(folder, tmp_path, bits):
    first = load_model(folder, device="cpu", load=bits)
    first.network.save_pretrained(tmp_path / "saved")
    first.tokenizer.save_pretrained(tmp_path / "saved")
    again = load_model(tmp_path / "saved", device="cpu")
    assert again.identity.quantisation == bits
    assert any(f"({bits}, as its checkpoint has them)" in note for note in again.notes)
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(again.network(ids).logits, first.network(ids).logits)
    assert load_model(tmp_path / "saved", device="cpu", load=bits).identity.quantisation == bits


@needs_bitsandbytes
@BITS
@pytest.mark.parametrize("method", ["ia2-sft", "ia2-solved-sft", "sft-soft"])
def test_an_adapter_of_a_quantised_model_is_trained_measured_and_read_by_peft(folder, tmp_path, toy_task, bits, method):
    model = load_model(folder, device="cpu", load=bits)
    few = FewShotSet.draw(toy_task, 4)
    sites = METHODS[method].teacher_sites
    targets = collect_targets(model, few, sites=sites, cache_dir=tmp_path / "cache")
    training = Training(epochs=4)
    trained = train(model, few, METHODS[method], learning_rate=1e-2, targets=targets, training=training)
    assert all(tensor.dtype == torch.float32 for tensor in trained.adapter.weights.values())
    losses = trained.stages[-1].train_losses
    assert losses[-1] < losses[0]
    assert evaluate(model, toy_task.evaluation[:4], toy_task, adapter=trained.adapter).metrics()["n"] == 4
    trained.adapter.save(tmp_path / "adapter")
    ids = torch.tensor([[5, 6, 7, 8]])
    with adapted(model, [Adapter.load(tmp_path / "adapter")]) as reader, reader.adapters.attached([0]), torch.no_grad():
        ours = model.network(ids).logits
    with attached(model.network, trained.adapter), torch.no_grad():
        in_peft = model.network(ids).logits
    base = load_model(folder, device="cpu", load=bits).network
    with torch.no_grad():
        unadapted = base(ids).logits
        reloaded = PeftModel.from_pretrained(base, str(tmp_path / "adapter")).eval()(ids).logits
    torch.testing.assert_close(ours, reloaded, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(in_peft, reloaded, rtol=1e-4, atol=1e-4)
    assert (unadapted - reloaded).abs().max() > 0.01


@needs_bitsandbytes
@BITS
@pytest.mark.parametrize("kind", [VeRA(rank=4), IA3(), PrefixTuning(tokens=2)])
def test_kinds_that_need_no_weights_run_on_a_quantised_model(folder, bits, kind):
    network = load_model(folder, device="cpu", load=bits).network
    adapter = fresh_adapter(network, kind.configuration(network), seed=0)
    assert bank_of(network, [adapter]) is not None


@needs_bitsandbytes
@BITS
@pytest.mark.parametrize("kind", [FullFineTuning(), LoRA(dora=True), IA3(scale="input")])
def test_kinds_that_compute_with_weights_are_refused(folder, bits, kind):
    network = load_model(folder, device="cpu", load=bits).network
    said = rf"^this adapter computes with the model's own weights, and these are quantised \({bits}\)\. Use lora "
    with pytest.raises(InputError, match=said):
        fresh_adapter(network, kind.configuration(network), seed=0)
    plain = tiny_network("llama")
    adapter = fresh_adapter(plain, kind.configuration(plain), seed=0)
    with pytest.raises(InputError, match=said):
        bank_of(network, [adapter])


@needs_bitsandbytes
@BITS
def test_nothing_is_merged_into_quantised_weights(folder, tmp_path, bits):
    model = load_model(folder, device="cpu", load=bits)
    adapter = fresh_adapter(model.network, LoRA(rank=2).configuration(model.network), seed=0)
    said = rf"^an adapter is merged into the model's own weights, and these are quantised \({bits}\)\. "
    with pytest.raises(InputError, match=said), merged(model.network, adapter):
        pytest.fail("it was merged")
    with pytest.raises(InputError, match=said):
        export_merged(adapter, model, tmp_path / "merged")


def test_weights_that_are_in_no_memory_are_refused_too(tiny_llama):
    network = tiny_language_model(tiny_network("llama")).network
    network.model.layers[2].to("meta")
    said = r"^this computes with the model's own weights, and some of these aren't in a device's memory\. Do another\.$"
    with pytest.raises(InputError, match=said):
        check_plain_weights(network, "this computes with", "Do another.")
