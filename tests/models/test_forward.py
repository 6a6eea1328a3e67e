import pytest
import torch
import transformers
from conftest import tiny_network
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ia2.models.architectures import attention_blocks, last_feed_forward
from ia2.models.forward import forward, head_at, response_logits
from ia2.models.layout import PADDING, SHARED, lay_out
from ia2.models.sequences import TokenSequence

TOKENS = st.lists(st.integers(1, 99), min_size=1, max_size=12).map(tuple)
# built inside the tests: the run-time type checker draws random numbers, which hypothesis forbids inside a strategy
PAIRS = st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=5)


def built(pairs):
    return [TokenSequence(prompt, response) for prompt, response in pairs]


def alone(network, sequence):
    """The logits that predict each response token, from a plain forward pass of this sequence and nothing else."""
    ids = torch.tensor([sequence.prompt + sequence.response])
    logits = network(ids, attention_mask=torch.ones_like(ids)).logits[0]
    return logits[len(sequence.prompt) - 1 : -1]


def random_sequences(count, generator, shared=()):
    def tokens(most):
        return tuple(
            torch.randint(1, 99, (int(torch.randint(1, most, (), generator=generator)),), generator=generator).tolist()
        )

    return [TokenSequence((*shared, *tokens(14)), tokens(5)) for _ in range(count)]


@pytest.mark.parametrize("shared", [(), tuple(range(30, 54))], ids=["nothing shared", "24 tokens shared"])
@pytest.mark.parametrize("layout", ["packed", "right", "left"])
def test_every_layout_gives_the_logits_of_each_sequence_alone(network, layout, shared):
    sequences = random_sequences(6, torch.Generator().manual_seed(0), shared)
    # 24 tokens reach beyond the 16-token window of those architectures that have one
    batch = lay_out(sequences, layout=layout)
    assert bool((batch.owner == SHARED).any()) == (layout == "packed" and bool(shared))
    with torch.no_grad():
        expected = torch.cat([alone(network, sequence) for sequence in sequences])
        assert torch.allclose(response_logits(network, batch), expected, atol=1e-4)


def test_a_sliding_window_hides_what_is_farther_away():
    # in a prompt longer than Mistral's 16-token window, a change of the first token is not seen 3 layers x 16 later
    network = tiny_network("mistral")
    first, second = (TokenSequence((token, *range(20, 90)), (1,)) for token in (5, 6))
    with torch.no_grad():
        one, other = (response_logits(network, lay_out([sequence])) for sequence in (first, second))
    assert torch.equal(one, other)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
@given(PAIRS)
def test_padding_never_reaches_logits_or_gradients(tiny_llama, pairs):
    sequences = built(pairs)
    # whatever token padding is, a padded batch gives the values and gradients of the packed one, which has none
    gradients = []
    for layout, filler in (("packed", 0), ("right", 7), ("left", 11)):
        batch = lay_out(sequences, layout=layout)
        batch.input_ids[batch.owner == PADDING] = filler
        weight = tiny_llama.model.layers[0].self_attn.v_proj.weight.detach().clone().requires_grad_(True)
        logits = torch.func.functional_call(
            _Logits(tiny_llama, batch), {"network.model.layers.0.self_attn.v_proj.weight": weight}, ()
        )
        (gradient,) = torch.autograd.grad(logits.logsumexp(-1).sum(), weight)
        gradients.append(gradient)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-4)
    assert torch.allclose(gradients[0], gradients[2], atol=1e-4)


class _Logits(torch.nn.Module):
    def __init__(self, network, batch):
        super().__init__()
        self.network, self.batch = network, batch

    def forward(self):
        return response_logits(self.network, self.batch)


@pytest.mark.parametrize("filler", [7, 11])
def test_whatever_fills_up_rows_that_stand_abreast_changes_nothing(network, filler):
    # as in a bank, where each adapter has rows of its own
    batch = lay_out(random_sequences(4, torch.Generator().manual_seed(3)), rows=[[0], [1, 2], [3]])
    padding = batch.owner == PADDING
    assert padding.any()
    with torch.no_grad():
        expected = response_logits(network, batch)
        assert not (batch.input_ids[padding] == filler).any()
        batch.input_ids[padding] = filler
        assert torch.equal(response_logits(network, batch), expected)


def test_the_head_reads_only_response_positions_and_is_itself_again_afterwards(tiny_llama):
    batch = lay_out(random_sequences(3, torch.Generator().manual_seed(1)))
    with head_at(tiny_llama, batch.at()):
        assert tiny_llama(batch.input_ids).logits.shape[:2] == (1, len(batch.responses()))
    assert tiny_llama(batch.input_ids).logits.shape[:2] == batch.input_ids.shape


WITHOUT_BLOCK = {"opt"}


def reads_of_last_block(network, run):
    """How many tokens the last layer's feed-forward block reads while something runs."""
    block, read = last_feed_forward(network), []
    first = next(part for part in block.modules() if list(part.parameters(recurse=False)))
    usual = first.forward

    def noting(values):
        read.append(values.shape[:-1].numel())
        return usual(values)

    first.forward = noting
    try:
        run()
    finally:
        del first.forward
    return read


def test_the_last_feed_forward_block_reads_response_positions_alone(network):
    if network.config.model_type in WITHOUT_BLOCK:
        assert last_feed_forward(network) is None
        return
    batch = lay_out(random_sequences(4, torch.Generator().manual_seed(5)))
    assert reads_of_last_block(network, lambda: response_logits(network, batch)) == [len(batch.responses())]
    assert reads_of_last_block(network, lambda: forward(network, batch)) == [1]
    assert reads_of_last_block(network, lambda: network(batch.input_ids)) == [batch.input_ids.numel()]


def test_its_gradients_are_those_of_whole_rows(network):
    batch = lay_out(random_sequences(4, torch.Generator().manual_seed(6)))
    gradients = []
    for whole in (False, True):
        seen = []
        with pytest.MonkeyPatch.context() as patch:
            if whole:
                patch.setattr("ia2.models.forward.last_feed_forward", lambda _: None)
            block = attention_blocks(network)[1]
            handle = block.register_forward_hook(
                lambda _m, _a, output, seen=seen: (seen.append(output[0].requires_grad_(True)), output)[1]
            )
            try:
                response_logits(network, batch).logsumexp(-1).sum().backward()
            finally:
                handle.remove()
        gradients.append(seen[0].grad)
    assert torch.allclose(*gradients, atol=1e-5)


@pytest.mark.parametrize("family", [transformers.Qwen3MoeConfig, transformers.GptOssConfig])
def test_a_mixture_of_experts_answers_as_with_whole_rows(family, monkeypatch):
    # GPT-OSS's block says what its router chose beside what it adds
    sizes = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "head_dim": 8}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_experts_per_tok": 2}
    experts = {"num_experts": 4} if family is transformers.Qwen3MoeConfig else {"num_local_experts": 4}
    configuration = family(**sizes, **heads, **experts, attn_implementation="eager")
    network = transformers.AutoModelForCausalLM.from_config(configuration).eval()
    batch = lay_out(random_sequences(4, torch.Generator().manual_seed(8)))
    with torch.no_grad():
        forward(network, batch)
        found = response_logits(network, batch)
        monkeypatch.setattr("ia2.models.forward.last_feed_forward", lambda _: None)
        assert torch.allclose(found, response_logits(network, batch), atol=1e-5)


def test_a_block_inside_which_something_is_attached_reads_whole_rows(tiny_llama):
    batch = lay_out(random_sequences(3, torch.Generator().manual_seed(7)))
    shapes = []
    inner = tiny_llama.model.layers[-1].mlp.up_proj
    handle = inner.register_forward_hook(lambda _m, arguments, _o: shapes.append(arguments[0].shape[:2]))
    try:
        logits = response_logits(tiny_llama, batch)
    finally:
        handle.remove()
    assert shapes == [batch.input_ids.shape]
    assert torch.allclose(response_logits(tiny_llama, batch), logits, atol=1e-5)


def test_forward_runs_no_head(tiny_llama, monkeypatch):
    monkeypatch.setattr(tiny_llama.lm_head, "forward", lambda *_: pytest.fail("the head was run"))
    forward(tiny_llama, lay_out(random_sequences(2, torch.Generator().manual_seed(2))))
