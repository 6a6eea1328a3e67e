import pytest
import torch

from benchmarks.shrunken import shrunken_network
from ia2.models.forward import response_logits
from ia2.models.layout import lay_out
from ia2.models.masks import visible
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


def test_a_window_that_a_kinds_attention_does_not_have_is_none():
    network = shrunken_network("moshi")
    assert network.config.get_text_config(decoder=True).sliding_window == 32
    prompt = tuple(range(5, 65))
    with torch.no_grad():
        alone = network(torch.tensor([prompt]), use_cache=False).logits[0, -1:]
    torch.testing.assert_close(Reader(network).logits([TokenSequence(prompt, (0,))]), alone, atol=1e-4, rtol=1e-3)
