import pytest
import torch
from conftest import tiny_network
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict
from torch import nn
from torch.testing import assert_close

from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.bank import Bank
from ia2.adapters.dropout import Dropout
from ia2.adapters.lora import LoRA
from ia2.adapters.registry import effect_of
from ia2.models.forward import response_logits
from ia2.models.layout import lay_out
from ia2.models.sequences import TokenSequence

SEQUENCES = [TokenSequence(tuple(range(3 + index, 9 + 2 * index)), (5, 6)) for index in range(4)]


def masks(rows, noise, *, rate=0.3, module=0, width=64):
    """What is left of ones, for each sequence, whatever row it stands in."""
    batch = lay_out(SEQUENCES, rows=rows)
    left = Dropout.of(batch, rate, noise).applied(torch.ones(*batch.owner.shape, width), module)
    return [left[batch.owner == index] for index in range(len(SEQUENCES))]


def test_the_share_that_is_left_out_and_the_mean_are_right():
    batch = lay_out([TokenSequence(tuple(range(1, 200)), (1,))])
    for rate in (0.1, 0.5, 0.9):
        left = Dropout.of(batch, rate, [7]).applied(torch.ones(1, 199, 1000), 3)
        assert left.unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)])
        assert (left == 0).float().mean().item() == pytest.approx(rate, abs=0.005)
        # neither a token nor an input is left out more often than others
        deviation = (rate * (1 - rate)) ** 0.5
        for axis, count in ((1, 199), (2, 1000)):
            assert (left == 0).float().mean(axis).std().item() == pytest.approx(deviation / count**0.5, rel=0.15)


def test_masks_of_tokens_modules_and_numbers_have_nothing_in_common():
    batch = lay_out([TokenSequence(tuple(range(1, 200)), (1,))])

    def left(number, module):
        return (Dropout.of(batch, 0.5, [number]).applied(torch.ones(1, 199, 500), module) > 0).float()

    one = left(1, 0)
    for other in (left(2, 0), left(1, 1), one.roll(1, 1), one.roll(1, 2)):
        assert (one == other).float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_a_sequences_mask_is_the_same_wherever_it_stands_and_there_is_none_where_nothing_is_learnt():
    noise = [11, 12, None, 14]
    alone, packed = masks([[0], [1], [2], [3]], noise), masks([[3, 1], [2, 0]], noise)
    for index in range(4):
        assert torch.equal(alone[index], packed[index])
    assert bool((alone[2] == 1).all())
    assert not torch.equal(alone[0], masks([[0], [1], [2], [3]], [10, 12, None, 14])[0])


def test_tokens_that_stand_once_for_several_sequences_are_refused():
    batch = lay_out([TokenSequence((7, 8, 1), (4,)), TokenSequence((7, 8, 2), (6,))], rows=[[0, 1]])
    with pytest.raises(ValueError, match="share=False"):
        Dropout.of(batch, 0.1, [1, 2])


class Given(nn.Module):
    """PEFT's dropout with our mask."""

    def __init__(self, dropout, module):
        super().__init__()
        self.dropout, self.module = dropout, module

    def forward(self, inputs):
        return self.dropout.applied(inputs, self.module)


def test_with_the_same_masks_a_bank_gives_what_peft_gives():
    network, kind = tiny_network("llama"), LoRA(rank=4, dropout=0.4)
    configuration = kind.configuration(network)
    assert isinstance(configuration, LoraConfig)
    assert configuration.lora_dropout == 0.4
    fresh = fresh_adapter(network, configuration, 0)
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: tensor + torch.randn(tensor.shape, generator=generator) * 0.2 for name, tensor in fresh.weights.items()
    }
    bank = Bank(network, [weights], effect_of(configuration))
    batch, row = lay_out(SEQUENCES, rows=[[0, 1, 2, 3]]), [0]
    noise = [1, 2, 3, None]
    with bank.reading(batch, row, noise) as (read, cache):
        ours = response_logits(network, read, cache)
    with bank.reading(batch, row) as (read, cache):
        without = response_logits(network, read, cache)
    assert not torch.allclose(ours, without, atol=1e-3)
    model = get_peft_model(tiny_network("llama"), configuration)
    set_peft_model_state_dict(model, weights)
    model.eval()
    base = model.get_base_model()
    assert_close(response_logits(base, batch), without, atol=1e-5, rtol=1e-5)
    dropout = Dropout.of(batch, 0.4, noise)
    for number, path in enumerate(bank._modules):
        base.get_submodule(path).lora_dropout["default"] = Given(dropout, number)
    assert_close(response_logits(base, batch), ours, atol=1e-5, rtol=1e-5)
