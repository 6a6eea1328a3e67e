import copy

import pytest
import torch
from conftest import ARCHITECTURES, tiny_network
from hypothesis import given
from hypothesis import strategies as some
from torch import nn
from torch.testing import assert_close

from ia2.models import gqa_attention as grouped
from ia2.models.forward import response_logits
from ia2.models.gqa_attention import NAME, attend_in_groups, grouped_attention
from ia2.models.layout import lay_out
from ia2.models.sequences import TokenSequence

GROUPED = {"llama", "qwen2", "qwen3", "mistral", "gemma3", "phi3", "olmo2"}


@given(rows=some.integers(1, 3), groups=some.integers(1, 3), each=some.integers(2, 3), q=some.integers(2, 6))
def test_outputs_and_gradients_are_those_of_repeated_keys_in_float64(rows, groups, each, q):
    torch.manual_seed(0)
    shapes = ((groups * each, q), (groups, 7), (groups, 7))
    own = [torch.randn(rows, heads, tokens, 4, requires_grad=True) for heads, tokens in shapes]
    exact = [tensor.detach().double().requires_grad_(True) for tensor in own]
    mask = torch.rand(rows, 1, q, 7) < 0.7
    mask[..., 0] = True
    found, _ = grouped_attention(nn.Module(), *own, mask, scaling=0.3)
    query, key, value = exact[0], *(tensor.repeat_interleave(each, dim=1) for tensor in exact[1:])
    scores = (query @ key.mT * 0.3).masked_fill(~mask, -torch.inf)
    expected = (scores.softmax(-1) @ value).transpose(1, 2)
    assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(expected)
    (found * weights.float()).sum().backward()
    (expected * weights).sum().backward()
    for one, other in zip(own, exact, strict=True):
        assert_close(one.grad, other.grad.float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_network_answers_as_it_does_with_sdpa_and_repeats_nothing(architecture, monkeypatch):
    network = tiny_network(architecture)
    batch = lay_out([TokenSequence((5, 6, 7, 8), (9, 1)), TokenSequence((5, 6, 3), (4,))])
    assert (network.config._attn_implementation == NAME) == (architecture in GROUPED)
    usual = copy.deepcopy(network)
    if architecture in GROUPED:
        usual.set_attn_implementation("sdpa")
    with torch.no_grad():
        expected = response_logits(usual, batch)
        monkeypatch.setattr(grouped, "sdpa_attention_forward", lambda *_, **__: pytest.fail("keys were repeated"))
        assert_close(response_logits(network, batch), expected, atol=1e-5, rtol=1e-5)


def test_a_prompt_without_a_mask_of_ours_is_causal():
    network, ids = tiny_network("llama"), torch.tensor([[5, 6, 7, 8]])
    changed = torch.tensor([[5, 6, 7, 9]])
    with torch.no_grad():
        assert torch.equal(network(ids).logits[:, :3], network(changed).logits[:, :3])


def test_what_it_does_not_know_is_left_to_transformers():
    query, key = torch.randn(1, 4, 3, 8), torch.randn(1, 2, 3, 8)
    with pytest.raises(ValueError, match="softcap"):
        grouped_attention(nn.Module(), query, key, key, torch.ones(1, 1, 3, 3, dtype=torch.bool), softcap=30.0)


def test_other_ways_to_attend_are_left_alone():
    network = tiny_network("llama")
    network.set_attn_implementation("eager")
    attend_in_groups(network)
    assert network.config._attn_implementation == "eager"
