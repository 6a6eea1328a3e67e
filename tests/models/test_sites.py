from collections import Counter

import pytest
import torch
from conftest import ARCHITECTURES, tiny_network
from torch import nn

from benchmarks.dispatched import dispatched
from benchmarks.shrunken import shrunken_network
from ia2.errors import InputError
from ia2.models.architectures import attention_blocks, layers_of, projection_names
from ia2.models.layout import lay_out
from ia2.models.masks import visible
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import ATTENTION_OUTPUT, Site, _modules, record

SEQUENCES = [TokenSequence((5, 9, 13, 2), (7, 3)), TokenSequence((4, 8), (6,))]
# where a layer's output is its input plus attention plus MLP, with no norm behind either
NAMES = ("attention-output", "residual", "mlp-output", "heads")
RESIDUAL = {"llama", "qwen2", "qwen3", "mistral", "phi3", "gpt2", "opt"}


def attention_of(network, sequences=SEQUENCES, **keywords):
    batch = lay_out(sequences, **keywords)
    with torch.no_grad():
        read = Reader(network).read(batch, {ATTENTION_OUTPUT: batch.at()})
    return batch, read[ATTENTION_OUTPUT]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_is_recorded_is_the_output_projection_of_what_it_was_given(architecture):
    network = tiny_network(architecture)
    last = projection_names(network, ["output"])
    seen = {}
    for name in last:
        module = network.get_submodule(name)
        module.register_forward_hook(lambda _m, given, _o, name=name: seen.__setitem__(name, given[0]))
    batch, recorded = attention_of(network)
    for layer, name in enumerate(last):
        module = network.get_submodule(name)
        weight = module.weight.T if isinstance(module, nn.Linear) else module.weight
        expected = seen[name].double() @ weight.double()
        if module.bias is not None:
            expected += module.bias.double()
        assert torch.allclose(recorded[:, layer].double(), batch.at().taken(expected), atol=1e-5)


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
    batch, recorded = attention_of(network)
    for layer, (entered, came) in enumerate(zip(before, after, strict=True)):
        change = batch.at().taken(came.reshape(entered.shape) - entered)
        assert torch.allclose(recorded[:, layer], change, atol=1e-5)


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
    batch, recorded = attention_of(network)
    for layer, ((entered, left), mlp) in enumerate(zip(streams, mlps, strict=True)):
        assert torch.allclose(recorded[:, layer], batch.at().taken(left - entered - mlp), atol=1e-5)


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3", "olmo2"])
def test_where_a_norm_follows_the_block_it_is_given_what_is_recorded(architecture):
    network = tiny_network(architecture)
    given = []
    for layer in network.model.layers:
        layer.post_attention_layernorm.register_forward_pre_hook(lambda _m, arguments: given.append(arguments[0]))
    batch, recorded = attention_of(network)
    for layer, normed in enumerate(given):
        assert torch.allclose(recorded[:, layer], batch.at().taken(normed), atol=1e-6)


def test_layout_makes_no_difference_to_what_is_recorded(network):
    _, packed = attention_of(network)
    for layout in ("right", "left"):
        assert torch.allclose(attention_of(network, layout=layout)[1], packed, atol=1e-5)


HIDDEN = [Site(name, positions) for name in NAMES for positions in ("response", "prompt", "all")]
SHORT = [TokenSequence((4,), (2,))]
NAMED = pytest.mark.parametrize("site", HIDDEN, ids=str)


def alone(network, site, sequence):
    """What a plain forward pass over one sequence gives at every layer of a site, all its inputs."""
    layers, blocks = layers_of(network), attention_blocks(network)
    of = {
        "attention-output": blocks,
        "residual": layers,
        "mlp-output": [layer.fc2 if hasattr(layer, "fc2") else layer.mlp for layer in layers],
        "heads": [network.get_submodule(name) for name in projection_names(network, ["output"])],
    }
    seen = []
    for module in of[site.name]:
        if site.name == "heads":
            hook = module.register_forward_pre_hook(lambda _m, given: seen.append(given[0]))
        else:
            hook = module.register_forward_hook(
                lambda _m, _g, output: seen.append(output[0] if isinstance(output, tuple) else output)
            )
        seen.append(hook)
    hooks, seen[:] = list(seen), []
    with torch.no_grad():
        network(torch.tensor([sequence.inputs]))
    for hook in hooks:
        hook.remove()
    return torch.stack([hidden.reshape(len(sequence.inputs), -1) for hidden in seen], dim=1)


@NAMED
def test_every_site_of_packed_sequences_is_what_each_alone_gives(network, site):
    sequences = [
        TokenSequence((5, 9, 13, 2), (7, 3), 3),
        TokenSequence((5, 9, 8), (6, 1, 2)),
        TokenSequence((4,), (2,)),
    ]
    spans = {"response": lambda p, r, q: range(p - 1, p + r - 1), "prompt": lambda p, r, q: range(p - q, p - 1)}
    spans["all"] = lambda p, r, q: range(p - q, p + r - 1)
    for reader in (Reader(network), Reader(network, layout="right"), Reader(network, layout="left")):
        for sequence, read in zip(sequences, reader.activations(sequences, [site]), strict=True):
            query = sequence.query_tokens or len(sequence.prompt)
            at = spans[site.positions](len(sequence.prompt), len(sequence.response), query)
            assert torch.allclose(read[site], alone(network, site, sequence)[list(at)], atol=1e-4, rtol=1e-4)


def test_the_residual_streams_difference_is_what_attention_and_mlp_added(tiny_llama):
    sites = [Site(name, "all") for name in ("residual", "attention-output", "mlp-output")]
    for read in Reader(tiny_llama).activations(SEQUENCES, sites):
        stream, attention, mlp = (read[site] for site in sites)
        assert torch.allclose(stream[:, 1:] - stream[:, :-1], (attention + mlp)[:, 1:], atol=1e-5)


def test_heads_times_the_output_projection_is_the_attention_output(tiny_llama):
    for read in Reader(tiny_llama).activations(SEQUENCES, [Site("heads"), ATTENTION_OUTPUT]):
        for layer, block in enumerate(attention_blocks(tiny_llama)):
            expected = read[Site("heads")][:, layer] @ block.o_proj.weight.T
            assert torch.allclose(read[ATTENTION_OUTPUT][:, layer], expected, atol=1e-5)


def test_logits_are_read_where_response_tokens_are_predicted_alone():
    with pytest.raises(InputError, match="positions 'all': logits are read where response tokens are predicted"):
        Site("logits", "all")


def test_a_position_that_a_prefix_holds_is_refused(tiny_llama):
    sequences = [TokenSequence((5, 9, 13), (7,)), TokenSequence((5, 9, 8), (6,))]
    reader = Reader(tiny_llama).with_common_prefix(sequences)
    assert reader.prefix.tokens == (5, 9)
    with pytest.raises(ValueError, match="a shared prefix holds"):
        reader.activations(sequences, [Site("residual", "prompt")])


def test_hooks_are_gone_whatever_happens_inside(tiny_llama):
    batch = lay_out(SEQUENCES)
    with pytest.raises(RuntimeError, match="mishap"), record(tiny_llama, {site: batch.at() for site in HIDDEN}):
        raise RuntimeError("mishap")
    with record(tiny_llama, {ATTENTION_OUTPUT: batch.at()}):
        pass
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in tiny_llama.modules())


def test_gradients_are_kept_for_the_student_and_not_for_the_teacher(tiny_llama):
    embedding = tiny_llama.get_input_embeddings()
    handle = embedding.register_forward_hook(lambda _m, _g, output: output.requires_grad_(True))
    batch = lay_out(SEQUENCES)
    try:
        student = Reader(tiny_llama).read(batch, {ATTENTION_OUTPUT: batch.at()})
        assert student[ATTENTION_OUTPUT].requires_grad
        for read in Reader(tiny_llama).activations(SEQUENCES, [ATTENTION_OUTPUT]):
            assert not read[ATTENTION_OUTPUT].requires_grad
    finally:
        handle.remove()


@pytest.mark.parametrize("kind", ["llama", "falcon"])
@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_of_what_is_recorded_reaches_the_network(kind, name):
    # falcon's layers add to the feed-forward block's output in place
    network = shrunken_network(kind, {"new_decoder_architecture": True} if kind == "falcon" else {})
    batch, site = lay_out(SEQUENCES), Site(name)
    embeddings = network.get_input_embeddings()(batch.input_ids)
    gradients, seen = [], []

    def note(_module, _arguments, output):
        seen.append((output[0] if isinstance(output, tuple) else output).clone())

    def note_inputs(_module, arguments):
        seen.append(arguments[0].clone())

    def output_of(inputs):
        mask = visible((batch.owner, batch.position_ids), (batch.owner, batch.position_ids), None)
        told = {"inputs_embeds": inputs, "position_ids": batch.position_ids, "attention_mask": mask}
        return network.base_model(**told, use_cache=False).last_hidden_state

    for recorded in (True, False):
        inputs = embeddings.detach().requires_grad_(True)
        if recorded:
            with record(network, {site: batch.at()}) as recording:
                output = output_of(inputs)
            read = recording.taken()[site]
        else:
            hooks = [
                module.register_forward_pre_hook(note_inputs) if name == "heads" else module.register_forward_hook(note)
                for module in _modules(network, site)
            ]
            output = output_of(inputs)
            for hook in hooks:
                hook.remove()
            read = torch.stack([batch.at().taken(hidden) for hidden in seen], dim=1)
        (read.square().sum() + output.sum()).backward()
        gradients.append(inputs.grad)
    assert torch.allclose(*gradients, atol=1e-6 * gradients[0].abs().max().item(), rtol=1e-5)


def test_what_is_recorded_costs_the_backward_pass_one_operation_a_layer(tiny_llama):
    batch = lay_out(SEQUENCES)
    counts = []
    for sites in ([], [Site("residual")]):
        inputs = tiny_llama.get_input_embeddings()(batch.input_ids).detach().requires_grad_(True)
        with record(tiny_llama, dict.fromkeys(sites, batch.at())) as recording:
            output = tiny_llama.base_model(inputs_embeds=inputs, use_cache=False).last_hidden_state
        loss = output.sum() + sum(values.sum() for values in recording.taken().values())
        counts.append(dispatched(loss.backward).operations)
    # the layers' gradients are parts of one tensor
    assert counts[1] - counts[0] == Counter({"index_add": 3})


def test_a_layer_that_runs_twice_in_a_pass_is_refused(tiny_llama):
    batch = lay_out(SEQUENCES)
    with record(tiny_llama, {ATTENTION_OUTPUT: batch.at()}), pytest.raises(InputError, match="layer 0 ran twice"):
        for _ in range(2):
            tiny_llama(torch.tensor([[5, 6, 7, 8, 9, 10, 11, 12, 13, 14]]))


def test_nothing_recorded_is_an_error_and_never_a_zero(tiny_llama):
    with record(tiny_llama, {ATTENTION_OUTPUT: lay_out(SEQUENCES).at()}) as recorded:
        pass
    with pytest.raises(RuntimeError, match=r"layers \[0, 1, 2\] recorded no attention-output"):
        recorded.taken()
