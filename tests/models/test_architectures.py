import pytest
from conftest import tiny_network
from torch import nn

from ia2.errors import InputError
from ia2.models.architectures import attention_blocks, projection_names


def test_a_network_with_a_layer_of_another_kind_is_refused_by_name():
    network = tiny_network("llama")
    network.model.layers[1].self_attn = nn.Identity()
    with pytest.raises(InputError, match=r"llama: attention found in 2 of 3 layers of LlamaForCausalLM"):
        attention_blocks(network)


def test_fused_projections_are_named_once(network):
    names = projection_names(network, ["query", "key", "output"])
    assert len(names) == len(set(names)) == 3 * (2 if network.config.model_type in ("phi3", "gpt2", "gpt_neox") else 3)
    assert all(hasattr(network.get_submodule(name), "weight") for name in names)
