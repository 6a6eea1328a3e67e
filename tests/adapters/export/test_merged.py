from dataclasses import replace

import pytest
import torch
from conftest import tiny_language_model, tiny_network
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.export.merged import export_merged
from ia2.adapters.full import FullFineTuning
from ia2.adapters.ia3 import IA3
from ia2.adapters.lora import LoRA
from ia2.adapters.prefix import PrefixTuning
from ia2.adapters.prompt import PromptTuning
from ia2.adapters.vera import VeRA
from ia2.errors import InputError

IDS = torch.tensor([[5, 6, 7, 300, 20, 11]])
KINDS = [LoRA(rank=2, alpha=8), LoRA(dora=True), LoRA(rslora=True), IA3(), FullFineTuning(), VeRA(rank=16)]


def moved(network, kind):
    """An adapter of this kind that changes what the network says."""
    adapter = fresh_adapter(network, kind.configuration(network), seed=0)
    generator = torch.Generator().manual_seed(1)
    weights = {
        # what all modules share of VeRA stays as it was drawn
        name: tensor if name.startswith("base_model.vera_") else tensor + 0.1 * torch.randn(
            tensor.shape, generator=generator
        )
        for name, tensor in adapter.weights.items()
    }  # fmt: skip
    return replace(adapter, weights=weights)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.label(kind.as_record(None)))
def test_merged_weights_say_what_the_adapter_says(architecture, kind, tmp_path):
    network = tiny_network(architecture)
    adapter = moved(network, kind)
    adapter.save(tmp_path / "adapter")
    expected = PeftModel.from_pretrained(tiny_network(architecture), str(tmp_path / "adapter"))(IDS).logits
    before = tiny_network(architecture)(IDS).logits
    assert (expected - before).abs().max() > 0.05
    export_merged(adapter, tiny_language_model(network), tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not hasattr(merged, "peft_config")
    assert torch.allclose(merged(IDS).logits, expected, atol=2e-4)
    assert list((tmp_path / "merged").glob("*.safetensors"))
    assert AutoTokenizer.from_pretrained(tmp_path / "merged")("Label:")["input_ids"]


@pytest.mark.parametrize("kind", [PromptTuning(), PrefixTuning()], ids=["prompt", "prefix"])
def test_virtual_tokens_are_in_no_weights(tiny_model, kind, tmp_path):
    adapter = fresh_adapter(tiny_model.network, kind.configuration(tiny_model.network), seed=0)
    with pytest.raises(InputError, match="virtual tokens before a text, which weights can't hold"):
        export_merged(adapter, tiny_model, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_settings_that_are_not_known_are_refused(tiny_model, tmp_path):
    configuration = LoRA(rank=2).configuration(tiny_model.network)
    configuration.bias = "all"
    adapter = Adapter(configuration, {})
    with pytest.raises(InputError, match="lora with these settings can't be merged here"):
        export_merged(adapter, tiny_model, tmp_path / "merged")


def test_an_adapter_of_another_model_is_refused(tiny_model, tmp_path):
    other = fresh_adapter(tiny_network("gpt2"), LoRA(rank=2).configuration(tiny_network("gpt2")), seed=0)
    with pytest.raises(InputError, match="names other layers or modules"):
        export_merged(other, tiny_model, tmp_path / "merged")
    network = tiny_model.network
    adapter = fresh_adapter(network, LoRA(rank=2).configuration(network), seed=0)
    wider = replace(adapter, weights={name: torch.cat([one, one], dim=1) for name, one in adapter.weights.items()})
    with pytest.raises(InputError, match="other shapes"):
        export_merged(wider, tiny_model, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_folder_that_holds_something_is_left_as_it_is(tiny_model, tmp_path):
    adapter = moved(tiny_model.network, LoRA(rank=2))
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="isn't empty"):
        export_merged(adapter, tiny_model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
