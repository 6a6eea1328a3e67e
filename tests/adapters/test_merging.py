from dataclasses import replace

import pytest
import torch
from conftest import tiny_network
from peft import get_peft_model, set_peft_model_state_dict

from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.ia3 import IA3
from ia2.adapters.lora import LoRA
from ia2.adapters.merging import check_merges, merged, read_with
from ia2.adapters.prefix import PrefixTuning
from ia2.analysis.similarity import response_activations
from ia2.errors import FieldError
from ia2.evaluation.evaluate import EvaluationSettings, evaluate, evaluate_all

IDS = torch.tensor([[5, 17, 99, 3, 42]])


def small(network, kind, seed=0, size=0.05):
    """An adapter of small random values."""
    fresh = fresh_adapter(network, kind.configuration(network), seed)
    generator = torch.Generator().manual_seed(seed)
    noise = {name: size * torch.randn(tensor.shape, generator=generator) for name, tensor in fresh.weights.items()}
    return Adapter(fresh.configuration, {name: tensor + noise[name] for name, tensor in fresh.weights.items()})


def bits(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "phi3"])
@pytest.mark.parametrize("kind", [LoRA(), LoRA(rank=2, dora=True), IA3()], ids=["lora", "dora", "ia3"])
def test_a_merged_network_is_the_one_that_peft_unloads_in_bfloat16(architecture, kind):
    network = tiny_network(architecture).to(torch.bfloat16)
    adapter = small(network, kind)
    before = bits(network)
    with merged(network, adapter):
        ours = network(IDS).logits
    after = bits(network)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    model = get_peft_model(tiny_network(architecture).to(torch.bfloat16), adapter.configuration)
    set_peft_model_state_dict(model, dict(adapter.weights))
    unloaded = model.merge_and_unload()
    assert torch.equal(ours, unloaded(IDS).logits)
    assert not torch.equal(ours, network(IDS).logits)


def test_an_update_that_is_less_than_half_a_step_of_bfloat16_is_lost():
    # between 1 and 2 bfloat16 has steps of 2**-7, so that 0.0039 more is 1 again, and 0.0040 more is 1 + 2**-7
    network = tiny_network("llama").to(torch.bfloat16)
    projection = network.model.layers[0].self_attn.q_proj
    projection.weight.data.fill_(1.0)
    fresh = fresh_adapter(network, LoRA(rank=1, alpha=1, modules=("query",)).configuration(network), 0)
    for update, expected in ((0.0039, 1.0), (0.0040, 1 + 2**-7)):
        weights = {
            name: torch.full_like(tensor, update if "lora_B" in name else 1.0) for name, tensor in fresh.weights.items()
        }
        with merged(network, Adapter(fresh.configuration, weights)):
            held = network.get_submodule("model.layers.0.self_attn.q_proj").get_base_layer().weight.clone()
        assert held.unique().tolist() == [expected]
    assert projection.weight.unique().tolist() == [1.0]


def test_adapters_are_measured_and_compared_as_they_are_merged(tiny_model, toy_task):
    # in float32 nothing is lost
    adapters = [small(tiny_model.network, LoRA(), seed, 0.3) for seed in (0, 1)]
    rows = toy_task.evaluation[:6]
    beside = evaluate_all(tiny_model, rows, toy_task, adapters)
    within = evaluate_all(tiny_model, rows, toy_task, adapters, EvaluationSettings(weights="merged"))
    for ours, theirs in zip(within, beside, strict=True):
        for row, same in zip(ours.predictions, theirs.predictions, strict=True):
            assert row.predicted == same.predicted
            assert row.confidence == pytest.approx(same.confidence, abs=1e-5)
    plain = evaluate(tiny_model, rows, toy_task)
    assert evaluate(tiny_model, rows, toy_task, settings=EvaluationSettings(weights="merged")) == plain
    rounded = replace(tiny_model, network=tiny_network("llama").to(torch.bfloat16))
    tiny_update = small(rounded.network, LoRA(), 0, 1e-3)
    of_weights = response_activations(rounded, rows[:2], toy_task, adapter=tiny_update, weights="merged")
    with read_with(rounded, tiny_update, weights="merged") as reader:
        assert reader.network is rounded.network
    assert not torch.equal(of_weights[0], response_activations(rounded, rows[:2], toy_task, adapter=tiny_update)[0])


def test_virtual_tokens_are_not_merged(tiny_model):
    check_merges("lora")
    with pytest.raises(FieldError, match="evaluate merged: weights take in adapters of kinds lora, ia3, vera, and not"):
        check_merges("prefix")
    fresh = fresh_adapter(tiny_model.network, PrefixTuning().configuration(tiny_model.network), 0)
    with pytest.raises(FieldError, match="and not prefix"), merged(tiny_model.network, fresh):
        raise AssertionError("it should be refused before")


@pytest.mark.parametrize("kind", [LoRA(), IA3()], ids=["lora", "ia3"])
def test_weights_rounded_to_bfloat16_in_float32_are_those_of_a_bfloat16_network(kind):
    network, theirs = tiny_network("llama"), tiny_network("llama").to(torch.bfloat16)
    adapter, before = small(network, kind), bits(network)
    path = "model.layers.1.self_attn.q_proj"
    with merged(network, adapter, torch.bfloat16), merged(theirs, adapter):
        ours = network.get_submodule(path).get_base_layer().weight
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs.get_submodule(path).get_base_layer().weight.float())
        assert torch.equal(network.lm_head.weight, before["lm_head.weight"])
        rounded = network(IDS).logits
    after = bits(network)
    assert all(torch.equal(before[name], after[name]) for name in before)
    with merged(network, adapter):
        assert not torch.equal(network(IDS).logits, rounded)
