import pytest
from conftest import tiny_network
from torch import nn

from benchmarks.shrunken import shrunken_network
from ia2.errors import InputError
from ia2.models.architectures import architecture_of, attention_blocks, output_projections, projection_names


def test_a_network_with_a_layer_of_another_kind_is_refused_by_name():
    network = tiny_network("llama")
    network.model.layers[1].self_attn = nn.Identity()
    with pytest.raises(InputError, match=r"llama: attention found in 2 of 3 layers of LlamaForCausalLM"):
        attention_blocks(network)


def test_fused_projections_are_named_once(network):
    names = projection_names(network, ["query", "key", "output"])
    assert len(names) == len(set(names)) == 3 * (2 if network.config.model_type in ("phi3", "gpt2", "gpt_neox") else 3)
    assert all(hasattr(network.get_submodule(name), "weight") for name in names)


def test_a_hybrid_s_mixers_stand_for_attention():
    network = shrunken_network("qwen3_5_text")
    assert [parts.recurrent for parts in architecture_of(network).parts] == [True, True, True, False]
    assert projection_names(network, ["query", "key", "output"])[:2] == [
        "model.layers.0.linear_attn.in_proj_qkv",
        "model.layers.0.linear_attn.out_proj",
    ]
    assert projection_names(network, ["query"])[-1] == "model.layers.3.self_attn.q_proj"


def test_layers_without_a_mixer_are_left_out():
    network = shrunken_network("nemotron_h")
    assert [parts is None for parts in architecture_of(network).parts] == [False, True, False, True]
    assert len(output_projections(network)) == 2


def test_where_a_layer_has_none_of_the_projections_it_is_named():
    network = shrunken_network("gemma3n_text")
    assert "model.layers.3.self_attn.q_proj" in projection_names(network, ["query", "key"])
    with pytest.raises(InputError, match=r"model\.layers\.3 has no module for key, value"):
        projection_names(network, ["key", "value"])
