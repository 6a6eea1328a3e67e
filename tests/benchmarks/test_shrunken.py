import torch

from benchmarks.shrunken import LAYERS, shrunken_configuration, shrunken_network


def test_every_kind_of_layer_stays():
    for kind, other in (("qwen3_5_text", "linear_attention"), ("gemma3_text", "sliding_attention")):
        assert set(shrunken_configuration(kind).layer_types) == {other, "full_attention"}
        assert len(shrunken_configuration(kind).layer_types) == LAYERS


def test_a_network_is_small_and_always_the_same():
    first, second = shrunken_network("llama"), shrunken_network("llama")
    assert sum(weight.numel() for weight in first.parameters()) < 60_000
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))


def test_the_parts_of_a_wrapper_are_small_too():
    configuration = shrunken_configuration("gemma3")
    assert configuration.text_config.num_hidden_layers == configuration.vision_config.num_hidden_layers == LAYERS


def test_fields_can_be_otherwise():
    assert shrunken_configuration("llama", {"hidden_size": 64}).hidden_size == 64


def test_a_decoder_of_a_pair_is_built_as_one_that_is_saved_alone():
    network = shrunken_network("bart")
    assert not network.config.is_encoder_decoder
    assert not [name for name, _ in network.named_parameters() if ".encoder." in name]
