import pytest
import torch
from conftest import ARCHITECTURES, tiny_network
from peft import get_peft_model, set_peft_model_state_dict
from torch.testing import assert_close

from ia2.adapters import LoRA, fresh_adapter
from ia2.models.bank import Adam, Bank


def adapters(network, count, **lora):
    """Random adapters, their configuration and how an update is scaled."""
    spec = LoRA(**lora)
    configuration = spec.configuration(network)
    fresh = fresh_adapter(network, configuration, 0)
    generator = torch.Generator().manual_seed(1)
    made = [
        {name: torch.randn(tensor.shape, generator=generator) * 0.2 for name, tensor in fresh.weights.items()}
        for _ in range(count)
    ]
    return made, configuration, spec.alpha / spec.rank


def ids(rows):
    return torch.randint(1, 399, (rows, 9), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_row_is_what_peft_makes_of_it_with_its_adapter(architecture):
    network = tiny_network(architecture)
    made, configuration, scaling = adapters(network, 3, rank=4, alpha=6, modules=("query", "key", "output"))
    bank = Bank(network, made, scaling)
    before = network(ids(3)).logits
    with bank.attached():
        ours = network(ids(3)).logits
    with bank.attached(torch.tensor([2, 0, 2, 1])):
        chosen = network(ids(4)).logits
    assert torch.equal(network(ids(3)).logits, before)
    for place, weights in enumerate(made):
        model = get_peft_model(tiny_network(architecture), configuration)
        set_peft_model_state_dict(model, weights)
        theirs = model(ids(4)).logits
        assert_close(ours[place], theirs[place], atol=2e-5, rtol=1e-5)
        for row in (row for row, adapter in enumerate((2, 0, 2, 1)) if adapter == place):
            assert_close(chosen[row], theirs[row], atol=2e-5, rtol=1e-5)


def test_an_adapter_changes_nothing_of_another(tiny_llama):
    made, _, scaling = adapters(tiny_llama, 3)
    bank = Bank(tiny_llama, made, scaling)
    with bank.attached():
        before = tiny_llama(ids(3)).logits
    bank.values[1] += 1.0
    with bank.attached():
        after = tiny_llama(ids(3)).logits
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.allclose(before[1], after[1], atol=1e-2)


def test_hooks_are_gone_whatever_happens(tiny_llama):
    made, _, scaling = adapters(tiny_llama, 1)
    before = tiny_llama(ids(1)).logits
    with pytest.raises(RuntimeError, match="mishap"), Bank(tiny_llama, made, scaling).attached():
        raise RuntimeError("mishap")
    assert torch.equal(tiny_llama(ids(1)).logits, before)


def test_values_are_pefts_tensors_in_and_out(tiny_llama):
    made, _, scaling = adapters(tiny_llama, 3)
    bank = Bank(tiny_llama, made, scaling)
    bank.keep([2, 0])
    assert len(bank) == 2
    for place, number in enumerate((2, 0)):
        assert bank.weights(place).keys() == made[number].keys()
        assert all(torch.equal(tensor, made[number][name]) for name, tensor in bank.weights(place).items())


def test_what_cannot_be_stacked_is_refused(tiny_llama):
    (one,), _, scaling = adapters(tiny_llama, 1)
    (other,), _, _ = adapters(tiny_llama, 1, rank=2)
    for wrong in ([], [one, other], [{"base_model.model.prompt": torch.zeros(2)}]):
        with pytest.raises(ValueError, match="bank"):
            Bank(tiny_llama, wrong, scaling)


def test_a_step_is_an_independent_step_of_torchs_adam_for_each():
    rates = [1e-3, 3e-2, 0.5]
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(3, 50, generator=generator)
    alone = [values[place].clone().requires_grad_(True) for place in range(3)]
    theirs = [torch.optim.Adam([one], lr=rate) for one, rate in zip(alone, rates, strict=True)]
    ours, going = Adam(values, rates), [0, 1, 2]
    for step in range(12):
        if step == 6:  # the second leaves
            ours.keep([0, 2])
            values, going = values[[0, 2]], [0, 2]
        gradient = torch.randn(3, 50, generator=generator) * 10.0 ** -torch.arange(3)[:, None]
        ours.step(values, gradient[going])
        for place, number in enumerate(going):
            alone[number].grad = gradient[number].clone()
            theirs[number].step()
            assert_close(values[place], alone[number].detach(), atol=1e-6, rtol=1e-6)
