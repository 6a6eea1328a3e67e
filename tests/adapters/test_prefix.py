import torch

from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.prefix import LearnedPrefix, PrefixTuning, key_shape
from ia2.models.prefix import prefill


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
