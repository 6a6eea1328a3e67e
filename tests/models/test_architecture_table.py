from conftest import tiny_network

from ia2.models.architecture_table import LAYER_PARTS, LayerParts


def test_an_entry_fits_a_layer_that_has_all_of_its_modules():
    layer = tiny_network("llama").model.layers[0]
    parts = LayerParts("self_attn", "q_proj", "k_proj", "v_proj", "o_proj")
    assert parts.fits(layer)
    assert not LayerParts("self_attn", "q_proj", "k_proj", "v_proj", "dense").fits(layer)
    assert not LayerParts("mixer", "q_proj", "k_proj", "v_proj", "o_proj").fits(layer)
    # a module without a weight holds no projection
    assert not LayerParts("mlp", "gate_proj", "up_proj", "act_fn", "down_proj").fits(layer)


def test_each_projection_is_named_or_stood_for():
    parts = LayerParts("self_attn", "q_proj", None, None, "o_proj")
    assert [parts.projection(which) for which in ("query", "key", "value", "output")] == [
        "q_proj",
        None,
        None,
        "o_proj",
    ]


def test_no_entry_stands_twice_and_those_with_a_state_say_so():
    assert len(set(LAYER_PARTS)) == len(LAYER_PARTS)
    stateful = {parts.block for parts in LAYER_PARTS if parts.recurrent}
    assert {"mamba", "linear_attn", "conv"} <= stateful
