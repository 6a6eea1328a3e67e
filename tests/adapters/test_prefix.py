import pytest
import torch
from transformers import AutoModelForCausalLM, DeepseekV2Config, Gemma3nTextConfig

from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.prefix import LearnedPrefix, PrefixTuning, key_shape
from ia2.errors import InputError
from ia2.models.prefix import prefill

SMALL = {"vocab_size": 400, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4}


def latent():
    """Keys are longer than values."""
    sizes = {"kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8, "q_lora_rank": None}
    experts = {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    return DeepseekV2Config(**SMALL, **sizes, **experts, num_hidden_layers=2, num_key_value_heads=4)


def shared_keys():
    """The last two layers use the keys of earlier ones."""
    inputs = {"vocab_size_per_layer_input": 400, "hidden_size_per_layer_input": 8, "altup_num_inputs": 2}
    shared = {"num_hidden_layers": 4, "num_kv_shared_layers": 2, "layer_types": ["full_attention"] * 4}
    others = {"laurel_rank": 4, "activation_sparsity_pattern": [0.0] * 4, "num_key_value_heads": 2, "head_dim": 8}
    return Gemma3nTextConfig(**SMALL, **inputs, **shared, **others)


def test_keys_and_values_go_into_pefts_layout_and_come_back(network):
    states = prefill(network, [5, 9, 7]).states
    flat = LearnedPrefix.flat(states)
    layers, heads, size = key_shape(network)
    assert flat.shape == (3, layers * 2 * heads * size)
    cache = LearnedPrefix(3).cache(network, {"prompt_embeddings": flat[None].repeat(2, 1, 1)})
    for layer, (keys, values) in zip(cache.layers, states, strict=True):
        for row in range(2):
            assert torch.equal(layer.keys[row], keys[0])
            assert torch.equal(layer.values[row], values[0])


def test_a_prefix_begins_with_the_keys_of_words(tiny_llama):
    kind = PrefixTuning(tokens=4)
    first, second = (fresh_adapter(tiny_llama, kind.configuration(tiny_llama), seed).weights for seed in (0, 1))
    assert first["prompt_embeddings"].shape == second["prompt_embeddings"].shape == (4, 3 * 2 * 2 * 8)
    assert not torch.equal(first["prompt_embeddings"], second["prompt_embeddings"])


@pytest.mark.parametrize("configuration", [latent, shared_keys], ids=["deepseek_v2", "gemma3n"])
def test_a_network_whose_layers_keep_unlike_keys_is_refused(configuration):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = AutoModelForCausalLM.from_config(configuration()).eval().requires_grad_(False)
    with pytest.raises(InputError, match="keys and values of its layers aren't of one size"):
        PrefixTuning(tokens=3).configuration(network)
