import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ia2.models.attention import record_attention
from ia2.models.batch import TokenSequence, lay_out, response_logits
from ia2.models.prefix import NO_PREFILL, prefill, shared_tokens

SHARED = tuple(range(30, 54))
SEQUENCES = [TokenSequence((*SHARED, *own), (1, 2)) for own in ((5,), (6, 7, 8), (9, 10, 11, 12, 13))]


@pytest.mark.parametrize("layout", ["packed", "right", "left"])
def test_a_shared_prefix_gives_what_whole_prompts_give(network, layout):
    # 24 shared tokens reach beyond the 16-token window of those architectures that have one
    whole = lay_out(SEQUENCES, layout="right")
    own = lay_out(SEQUENCES, layout=layout, skip=len(SHARED))
    with torch.no_grad():
        with record_attention(network, whole.at) as expected:
            logits = response_logits(network, whole)
        cache = prefill(network, SHARED).cache(own.input_ids.shape[0])
        with record_attention(network, own.at) as attention:
            assert torch.allclose(response_logits(network, own, cache), logits, atol=5e-5)
    assert torch.allclose(attention.stacked(), expected.stacked(), atol=5e-5)


def test_a_prefill_is_never_changed_by_its_use(tiny_llama):
    shared = prefill(tiny_llama, SHARED)
    before = [tensor.clone() for layer in shared.states for tensor in layer]
    own = lay_out(SEQUENCES, skip=len(SHARED))
    with torch.no_grad():
        rows = own.input_ids.shape[0]
        first, second = (response_logits(tiny_llama, own, shared.cache(rows)) for _ in range(2))
    assert torch.equal(first, second)
    assert all(map(torch.equal, before, [tensor for layer in shared.states for tensor in layer]))


def test_no_tokens_need_no_cache(tiny_llama):
    assert prefill(tiny_llama, ()) is NO_PREFILL
    assert NO_PREFILL.cache(3) is None


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=5))
def test_what_is_shared_begins_every_prompt_and_leaves_each_a_token(prompts):
    shared = shared_tokens([TokenSequence(tuple(prompt), (0,)) for prompt in prompts])
    assert all(tuple(prompt[: len(shared)]) == shared and len(prompt) > len(shared) for prompt in prompts)
    # and it is the longest such run
    longer = [tuple(prompt[: len(shared) + 1]) for prompt in prompts]
    assert len(set(longer)) > 1 or any(len(prompt) == len(shared) + 1 for prompt in prompts)
