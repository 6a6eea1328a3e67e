import pytest
import torch
import transformers
from conftest import tiny_network

from ia2.models.whole_rows import take_whole_rows


@pytest.mark.parametrize("part", ["self_attn.q_proj", "mlp.down_proj"])
def test_a_plain_decoders_modules_do(part):
    network = tiny_network("llama")
    module = network.base_model.layers[1].get_submodule(part)
    assert take_whole_rows(network, {module})
    assert not module._forward_pre_hooks


def test_the_router_of_experts_takes_tokens_without_their_rows():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 10}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "num_local_experts": 2}
    network = transformers.AutoModelForCausalLM.from_config(transformers.MixtralConfig(**sizes, **heads))
    layer = network.base_model.layers[0]
    assert take_whole_rows(network, {layer.self_attn.o_proj})
    assert not take_whole_rows(network, {layer.mlp.gate})


def test_one_that_does_not_decides_for_all_and_the_network_keeps_its_state():
    network = tiny_network("llama")
    attention, head = network.base_model.layers[0].self_attn.q_proj, network.lm_head
    with torch.no_grad():
        before = network(torch.tensor([[1, 2]])).logits
    assert take_whole_rows(network, {attention})
    assert not take_whole_rows(network, {attention, head})
    with torch.no_grad():
        assert torch.equal(network(torch.tensor([[1, 2]])).logits, before)
