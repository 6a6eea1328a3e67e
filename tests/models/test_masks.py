import pytest
import torch
from conftest import tiny_network

from benchmarks.dispatched import dispatched
from benchmarks.shrunken import shrunken_network
from ia2.models.forward import response_logits
from ia2.models.gqa_attention import NAME
from ia2.models.layout import lay_out
from ia2.models.masks import attention_masks, visible
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence


def test_visible_worked_by_hand():
    # two sequences of two tokens in one row
    owner, position = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 0, 1]])
    seen = visible((owner, position), (owner, position), None)[0, 0]
    assert seen.int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]
    assert visible((owner, position), (owner, position), 1)[0, 0].int().tolist() == torch.eye(4).int().tolist()


def test_layers_of_an_unknown_kind_are_refused(tiny_llama, monkeypatch):
    monkeypatch.setattr(tiny_llama.config, "layer_types", ["linear_attention"] * 3, raising=False)
    with pytest.raises(ValueError, match="linear_attention"):
        response_logits(tiny_llama, lay_out([TokenSequence((1, 2), (3,))]))


@pytest.mark.parametrize("attention", ["sdpa", NAME])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_masks_are_numbers_made_once_a_pass_that_change_nothing_to_the_last_bit(attention, dtype):
    network = tiny_network("llama").to(dtype)
    network.set_attn_implementation(attention)
    batch = lay_out([TokenSequence((5, 6, 7, 8), (9, 1)), TokenSequence((5, 6, 3), (4,))])
    place = batch.owner, batch.position_ids
    seen = visible(place, place, None)
    with torch.no_grad():
        counted = dispatched(lambda: response_logits(network, batch))
        ours = network(batch.input_ids, position_ids=batch.position_ids, attention_mask=masked(network, place)).logits
        plain = network(batch.input_ids, position_ids=batch.position_ids, attention_mask=seen).logits
    assert masked(network, place).dtype == dtype
    assert torch.equal(ours, plain)
    # in every layer torch makes numbers of truth values by one operation of this name
    assert counted.operations["where"] == 0
    with torch.no_grad():
        assert dispatched(lambda: network(batch.input_ids, attention_mask=seen)).operations["where"] == 3


def masked(network, place):
    return attention_masks(network, place, place)


def test_a_window_that_a_kinds_attention_does_not_have_is_none():
    network = shrunken_network("moshi")
    assert network.config.get_text_config(decoder=True).sliding_window == 32
    prompt = tuple(range(5, 65))
    with torch.no_grad():
        alone = network(torch.tensor([prompt]), use_cache=False).logits[0, -1:]
    torch.testing.assert_close(Reader(network).logits([TokenSequence(prompt, (0,))]), alone, atol=1e-4, rtol=1e-3)
