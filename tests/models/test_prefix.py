import pytest
import torch

from ia2.models.forward import response_logits
from ia2.models.layout import lay_out
from ia2.models.prefix import NO_PREFILL, prefill
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import ATTENTION_OUTPUT, LOGITS

SHARED = tuple(range(30, 54))
SEQUENCES = [TokenSequence((*SHARED, *own), (1, 2)) for own in ((5,), (6, 7, 8), (9, 10, 11, 12, 13))]


@pytest.mark.parametrize("layout", ["packed", "right", "left"])
def test_a_shared_prefix_gives_what_whole_prompts_give(network, layout):
    # 24 shared tokens reach beyond the 16-token window of those architectures that have one
    whole = lay_out(SEQUENCES, layout="right")
    own = lay_out(SEQUENCES, layout=layout, skip=len(SHARED))
    with torch.no_grad():
        expected = Reader(network).read(whole, {site: whole.at() for site in (LOGITS, ATTENTION_OUTPUT)})
        reader = Reader(network, prefix=prefill(network, SHARED))
        read = reader.read(own, {site: own.at() for site in (LOGITS, ATTENTION_OUTPUT)})
    for site in (LOGITS, ATTENTION_OUTPUT):
        assert torch.allclose(read[site], expected[site], atol=5e-5)


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


def test_the_last_feed_forward_block_is_not_run_over_the_prefix(tiny_llama, monkeypatch):
    # it adds to no keys and values; one token is read, as something must be
    inner, read = tiny_llama.model.layers[-1].mlp.up_proj, []
    usual = inner.forward
    monkeypatch.setattr(inner, "forward", lambda values: (read.append(values.shape[:2]), usual(values))[1])
    prefill(tiny_llama, (5, 6, 7, 8))
    assert read == [(1, 1)]
