import pytest
import torch
from conftest import tiny_network
from peft import PeftModel
from torch.testing import assert_close

from ia2.adapters.adapter import Adapter, bank_of, fresh_adapter
from ia2.adapters.merging import merged
from ia2.adapters.registry import effect_of
from ia2.adapters.shift import BIAS, Shift, Shifted
from ia2.errors import FieldError
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import LOGITS

SEQUENCES = [TokenSequence((5, 9, 13, 40), (7, 3)), TokenSequence((4, 8), (6,))]


def shifted(network, seed=0):
    """An adapter of random vectors."""
    adapter = fresh_adapter(network, Shift().configuration(network), 0)
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: torch.randn(tensor.shape, generator=generator) if name.endswith(BIAS) else tensor
        for name, tensor in adapter.weights.items()
    }
    return Adapter(adapter.configuration, weights)


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed:UserWarning")
@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "opt"])
def test_a_bank_shifts_as_peft_does(architecture, tmp_path):
    network = tiny_network(architecture)
    adapters = [shifted(network, seed) for seed in (0, 1)]
    bank = bank_of(network, adapters)
    for index, adapter in enumerate(adapters):
        adapter.save(tmp_path / str(index))
        model = PeftModel.from_pretrained(tiny_network(architecture), str(tmp_path / str(index)))
        for sequence in SEQUENCES:
            with torch.no_grad():
                theirs = model(torch.tensor([sequence.prompt + sequence.response])).logits[0]
            ours = Reader(network, bank_of(network, [adapter])).logits([sequence])
            assert_close(ours, theirs[len(sequence.prompt) - 1 : -1], atol=1e-4, rtol=1e-4)
    # both at once are each alone
    together = [one.activations[LOGITS] for one in Reader(network, bank).passes(SEQUENCES[:1], [LOGITS])]
    alone = [Reader(network, bank_of(network, [adapter])).logits(SEQUENCES[:1]) for adapter in adapters]
    assert_close(torch.cat(together), torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_a_fresh_one_changes_nothing_and_its_factors_have_no_gradient(tiny_llama):
    adapter = fresh_adapter(tiny_llama, Shift().configuration(tiny_llama), 0)
    assert isinstance(effect_of(adapter.configuration), Shifted)
    bank = bank_of(tiny_llama, [adapter])
    bank.values.requires_grad_(True)
    logits = Reader(tiny_llama, bank).logits(SEQUENCES[:1])
    assert_close(logits, Reader(tiny_llama).logits(SEQUENCES[:1]))
    with torch.enable_grad():
        reader = Reader(tiny_llama, bank)
        batch, rows = reader.laid_out(SEQUENCES[:1], [0])
        reader.read(batch, {LOGITS: batch.at()}, rows)[LOGITS].logsumexp(-1).sum().backward()
    gradient = bank.named(bank.values.grad[0])
    for name, tensor in gradient.items():
        assert bool(tensor.any()) == name.endswith(BIAS)


def test_weights_cannot_take_a_shift_in(tiny_llama):
    with pytest.raises(FieldError, match="and not shift"), merged(tiny_llama, shifted(tiny_llama)):
        pass


def test_other_settings_of_peft_are_left_to_it(tiny_llama):
    configuration = Shift().configuration(tiny_llama)
    assert effect_of(configuration) == Shifted(1.0)
    configuration.use_dora = True
    assert effect_of(configuration) is None
