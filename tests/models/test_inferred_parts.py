import pytest
from conftest import tiny_network
from torch import nn

from ia2.models.architecture_table import LayerParts
from ia2.models.inferred_parts import inferred_parts, layer_lists

HIDDEN, HEADS, GROUPS, SIZE = 32, 4, 2, 8


@pytest.fixture(scope="module")
def config():
    return tiny_network("llama").config


def block(**sizes: tuple[int, int]) -> nn.Module:
    module = nn.Module()
    for name, size in sizes.items():
        module.add_module(name, nn.Linear(*size))
    return module


def layer(**parts: nn.Module) -> nn.Module:
    module = nn.Module()
    for name, part in parts.items():
        module.add_module(name, part)
    return module


OF_QUERIES, OF_KEYS, OUTPUT = (HIDDEN, HEADS * SIZE), (HIDDEN, GROUPS * SIZE), (HEADS * SIZE, HIDDEN)
FEED_FORWARD = {"gate": (HIDDEN, 48), "up": (HIDDEN, 48), "down": (48, HIDDEN)}


@pytest.mark.parametrize(
    "names",
    [
        ("wq", "wk", "wv", "wo"),
        ("query", "key", "value", "final"),
        ("q_lin", "k_lin", "v_lin", "out_lin"),
        ("to_q", "to_k", "to_v", "merge"),
    ],
)
def test_a_block_of_four_named_projections_of_the_configurations_sizes_is_attention(config, names):
    query, key, value, output = names
    mixer = block(**{query: OF_QUERIES, key: OF_KEYS, value: OF_KEYS, output: OUTPUT})
    parts = inferred_parts(layer(mixing=mixer, ffn=block(**FEED_FORWARD)), config)
    assert parts == LayerParts("mixing", query, key, value, output, None)


def test_one_module_may_hold_the_first_three(config):
    mixer = block(combined=(HIDDEN, (HEADS + 2 * GROUPS) * SIZE), merge=OUTPUT)
    parts = inferred_parts(layer(mixing=mixer, ffn=block(up=(HIDDEN, 48), down=(48, HIDDEN))), config)
    assert parts == LayerParts("mixing", "combined", "combined", "combined", "merge", None)


def test_a_wrapper_of_a_block_is_the_same_block(config):
    mixer = block(wq=OF_QUERIES, wk=OF_KEYS, wv=OF_KEYS, wo=OUTPUT)
    parts = inferred_parts(layer(outer=layer(inner=mixer), ffn=block(**FEED_FORWARD)), config)
    assert parts is not None
    assert parts.block == "outer.inner"


@pytest.mark.parametrize(
    "parts",
    [
        # names that don't tell which is which
        {"mixing": block(a=OF_QUERIES, b=OF_KEYS, c=OF_KEYS, d=OUTPUT)},
        # keys of other sizes than the configuration says
        {"mixing": block(wq=OF_QUERIES, wk=OF_QUERIES, wv=OF_KEYS, wo=OUTPUT)},
        # an output that isn't the residual stream's
        {"mixing": block(wq=OF_QUERIES, wk=OF_KEYS, wv=OF_KEYS, wo=(HEADS * SIZE, 48))},
        # one projection more
        {"mixing": block(wq=OF_QUERIES, wk=OF_KEYS, wv=OF_KEYS, wo=OUTPUT, gate=OF_QUERIES)},
        # a feed-forward block alone
        {"ffn": block(**FEED_FORWARD)},
        # two mixers
        {name: block(wq=OF_QUERIES, wk=OF_KEYS, wv=OF_KEYS, wo=OUTPUT) for name in ("first", "second")},
        # a short convolution, which is a state
        {"mixing": block(wq=OF_QUERIES, wk=OF_KEYS, wv=OF_KEYS, wo=OUTPUT), "conv": nn.Conv1d(32, 32, 4)},
    ],
)
def test_where_there_is_a_doubt_nothing_is_inferred(config, parts):
    assert inferred_parts(layer(**parts), config) is None


def test_lists_of_layers_have_as_many_as_the_configuration_says():
    assert layer_lists(tiny_network("llama")) == ["model.layers"]
    assert layer_lists(tiny_network("gpt2")) == ["transformer.h"]
