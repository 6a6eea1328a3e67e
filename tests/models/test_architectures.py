import pytest
from conftest import tiny_network
from torch import nn

from benchmarks.shrunken import shrunken_network
from ia2.errors import InputError
from ia2.models.architectures import (
    aligned_layers,
    architecture_of,
    attention_blocks,
    attention_outputs,
    last_feed_forward,
    output_projections,
    projection_names,
    siblings_of,
)


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


def test_mamba_s_output_projection_is_read_but_not_adapted_where_peft_refuses_it():
    network = shrunken_network("mamba")
    assert projection_names(network, ["query", "output"])[0] == "backbone.layers.0.mixer.in_proj"
    assert not any(name.endswith("out_proj") for name in projection_names(network, ["query", "output"]))
    assert len(output_projections(network)) == 4


def test_zaya_s_projections_stand_inside_one_module_and_its_experts_are_run_whole():
    network = shrunken_network("zaya")
    assert projection_names(network, ["query", "key", "value", "output"])[:4] == [
        f"model.layers.0.self_attn.{name}"
        for name in ("qkv_proj.q_proj", "qkv_proj.k_proj", "qkv_proj.v_proj_current", "o_proj")
    ]
    assert last_feed_forward(network) is None


@pytest.mark.parametrize(
    ("kind", "reason"), [("jetmoe", "PEFT adapts through target_parameters"), ("xlm", "no layers of it, but lists")]
)
def test_a_kind_that_another_library_leaves_no_way_to_adapt_is_refused_with_the_reason(kind, reason):
    with pytest.raises(InputError, match=f"^{kind}: .*{reason}"):
        architecture_of(shrunken_network(kind))


def test_a_feed_forward_block_whose_outputs_are_mixed_is_run_whole():
    assert last_feed_forward(shrunken_network("inkling_text")) is None
    network = shrunken_network("llama")
    assert last_feed_forward(network) is network.model.layers[-1].mlp


def test_where_a_layer_has_none_of_the_projections_it_is_named():
    network = shrunken_network("gemma3n_text")
    assert "model.layers.3.self_attn.q_proj" in projection_names(network, ["query", "key"])
    with pytest.raises(InputError, match=r"model\.layers\.3 has no module for key, value that can be adapted"):
        projection_names(network, ["key", "value"])


def test_in_a_hybrid_attention_alone_is_fewer_layers_than_all_mixers():
    network = shrunken_network("qwen3_5_text")
    assert attention_outputs(network) == output_projections(network)[3:]
    assert aligned_layers(network, "mixers") == {"mixers": "mixers", "layers": [0, 1, 2, 3]}
    assert aligned_layers(network, "attention") == {"mixers": "attention", "layers": [3]}


def test_in_a_plain_decoder_both_are_the_same(network):
    assert attention_outputs(network) == output_projections(network)
    assert aligned_layers(network, "attention")["layers"] == [0, 1, 2]


def test_where_no_layer_attends_attention_alone_is_refused():
    with pytest.raises(InputError, match=r"^mamba: no layer attends, all mix tokens by a state\. Align all mixers\.$"):
        attention_outputs(shrunken_network("mamba"))


def test_siblings_are_the_queries_keys_and_values_of_a_layer_that_are_named(tiny_llama):
    stem = "model.layers.{}.self_attn.{}_proj"
    named = [stem.format(layer, projection) for layer in (0, 2) for projection in "kqo"] + [stem.format(1, "v")]
    assert siblings_of(tiny_llama, named) == [
        [stem.format(layer, projection) for projection in "qk"] for layer in (0, 2)
    ]
    # queries, keys and values of one module, and a family that isn't known
    assert siblings_of(tiny_network("gpt2"), ["transformer.h.0.attn.c_attn", "transformer.h.0.attn.c_proj"]) == []
    assert siblings_of(shrunken_network("jetmoe"), ["model.layers.0.self_attention.kv_proj"]) == []
