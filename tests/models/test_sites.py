import pytest
import torch
from conftest import ARCHITECTURES, tiny_network
from torch import nn

from ia2.errors import InputError
from ia2.models.layout import TokenSequence, lay_out
from ia2.models.reader import forward
from ia2.models.sites import attention_blocks, projection_names, record_attention

SEQUENCES = [TokenSequence((5, 9, 13, 2), (7, 3)), TokenSequence((4, 8), (6,))]
# where a layer's output is its input plus attention plus MLP, with no norm behind either
RESIDUAL = {"llama", "qwen2", "qwen3", "mistral", "phi3", "gpt2", "opt"}


def record(network, sequences=SEQUENCES, **keywords):
    batch = lay_out(sequences, **keywords)
    with torch.no_grad(), record_attention(network, batch.at) as attention:
        forward(network, batch)
    return batch, attention.stacked()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_recorded_is_the_output_projection_of_what_it_was_given(architecture):
    network = tiny_network(architecture)
    last = projection_names(network, ["output"])
    seen = {}
    for name in last:
        module = network.get_submodule(name)
        module.register_forward_hook(lambda _m, given, _o, name=name: seen.__setitem__(name, given[0]))
    batch, recorded = record(network)
    for layer, name in enumerate(last):
        module = network.get_submodule(name)
        weight = module.weight.T if isinstance(module, nn.Linear) else module.weight
        expected = seen[name].double() @ weight.double()
        if module.bias is not None:
            expected += module.bias.double()
        assert torch.allclose(recorded[layer].double(), expected[batch.at.row, batch.at.column], atol=1e-5)


@pytest.mark.parametrize("architecture", sorted(RESIDUAL))
def test_what_is_recorded_is_the_change_of_the_residual_stream(architecture):
    network = tiny_network(architecture)
    before, after = [], []
    for block in attention_blocks(network):
        layer = next(module for module in network.modules() if block in module.children())
        norms = [module for name, module in layer.named_children() if "norm" in name or name.startswith("ln_")]
        # the stream enters the layer, and comes to the norm in front of the MLP with the block's output added
        layer.register_forward_pre_hook(
            lambda _m, given, keywords: before.append(given[0] if given else keywords["hidden_states"]),
            with_kwargs=True,
        )
        norms[1].register_forward_pre_hook(lambda _m, given: after.append(given[0]))
    batch, recorded = record(network)
    for layer, (entered, came) in enumerate(zip(before, after, strict=True)):
        change = (came.reshape(entered.shape) - entered)[batch.at.row, batch.at.column]
        assert torch.allclose(recorded[layer], change, atol=1e-5)


def test_a_neox_layer_adds_what_is_recorded_and_the_mlp_to_the_stream():
    network = tiny_network("gpt_neox")
    streams, mlps = [], []
    for layer in network.gpt_neox.layers:
        layer.register_forward_hook(
            lambda _m, given, keywords, output: streams.append(
                ((given[0] if given else keywords["hidden_states"]), output[0] if isinstance(output, tuple) else output)
            ),
            with_kwargs=True,
        )
        layer.mlp.register_forward_hook(lambda _m, _g, output: mlps.append(output))
    batch, recorded = record(network)
    for layer, ((entered, left), mlp) in enumerate(zip(streams, mlps, strict=True)):
        assert torch.allclose(recorded[layer], (left - entered - mlp)[batch.at.row, batch.at.column], atol=1e-5)


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3", "olmo2"])
def test_where_a_norm_follows_the_block_it_is_given_what_is_recorded(architecture):
    network = tiny_network(architecture)
    given = []
    for layer in network.model.layers:
        layer.post_attention_layernorm.register_forward_pre_hook(lambda _m, arguments: given.append(arguments[0]))
    batch, recorded = record(network)
    for layer, normed in enumerate(given):
        assert torch.allclose(recorded[layer], normed[batch.at.row, batch.at.column], atol=1e-6)


def test_layout_makes_no_difference_to_what_is_recorded(network):
    _, packed = record(network)
    for layout in ("right", "left"):
        assert torch.allclose(record(network, layout=layout)[1], packed, atol=1e-5)


def test_hooks_are_gone_whatever_happens_inside(tiny_llama):
    batch = lay_out(SEQUENCES)
    with pytest.raises(RuntimeError, match="mishap"), record_attention(tiny_llama, batch.at):
        raise RuntimeError("mishap")
    with record_attention(tiny_llama, batch.at):
        pass
    assert all(not block._forward_hooks for block in attention_blocks(tiny_llama))


def test_gradients_are_kept_for_the_student_and_not_for_the_teacher(tiny_llama):
    batch = lay_out(SEQUENCES)
    embedding = tiny_llama.get_input_embeddings()
    handle = embedding.register_forward_hook(lambda _m, _g, output: output.requires_grad_(True))
    try:
        for detach in (False, True):
            with record_attention(tiny_llama, batch.at, detach=detach) as attention:
                forward(tiny_llama, batch)
            assert attention.stacked().requires_grad is not detach
    finally:
        handle.remove()


def test_nothing_recorded_is_an_error_and_never_a_zero(tiny_llama):
    with record_attention(tiny_llama, lay_out(SEQUENCES).at) as attention:
        pass
    with pytest.raises(RuntimeError, match=r"layers \[0, 1, 2\] recorded no attention"):
        attention.stacked()


def test_a_network_with_a_layer_of_another_kind_is_refused_by_name():
    network = tiny_network("llama")
    network.model.layers[1].self_attn = nn.Identity()
    with pytest.raises(InputError, match=r"llama: attention found in 2 of 3 layers of LlamaForCausalLM"):
        attention_blocks(network)


def test_fused_projections_are_named_once(network):
    names = projection_names(network, ["query", "key", "output"])
    assert len(names) == len(set(names)) == 3 * (2 if network.config.model_type in ("phi3", "gpt2", "gpt_neox") else 3)
    assert all(hasattr(network.get_submodule(name), "weight") for name in names)
