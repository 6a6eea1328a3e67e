import pytest
import torch
from conftest import ARCHITECTURES, tiny_network
from peft import get_peft_model, set_peft_model_state_dict
from torch.testing import assert_close

from benchmarks.shrunken import shrunken_network
from ia2.adapters.adapter import bank_of, fresh_adapter
from ia2.adapters.bank import Bank
from ia2.adapters.full import FullFineTuning
from ia2.adapters.ia3 import IA3
from ia2.adapters.lora import LoRA
from ia2.adapters.prefix import PrefixTuning
from ia2.adapters.prompt import PromptTuning
from ia2.adapters.registry import effect_of
from ia2.models.forward import response_logits
from ia2.models.layout import lay_out
from ia2.models.memory import saved_bytes
from ia2.models.sequences import TokenSequence

KINDS = {
    "lora": LoRA(rank=4, alpha=6),
    "rslora": LoRA(rank=4, alpha=6, rslora=True),
    "dora": LoRA(rank=4, alpha=6, dora=True),
    "ia3": IA3(),
    "ia3 of inputs": IA3(scale="input"),
    "full": FullFineTuning(),
}


def adapters(network, count, kind=LoRA()):  # noqa: B008 - a frozen value
    """Random adapters, their configuration and their effect."""
    configuration = kind.configuration(network)
    fresh = fresh_adapter(network, configuration, 0)
    generator = torch.Generator().manual_seed(1)
    made = [
        {name: tensor + torch.randn(tensor.shape, generator=generator) * 0.2 for name, tensor in fresh.weights.items()}
        for _ in range(count)
    ]
    return made, configuration, effect_of(configuration)


def ids(rows):
    return torch.randint(1, 399, (rows, 9), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_each_row_is_what_peft_makes_of_it_with_its_adapter(architecture, kind):
    network = tiny_network(architecture)
    made, configuration, effect = adapters(network, 3, KINDS[kind])
    bank = Bank(network, made, effect)
    before = network(ids(3)).logits
    with bank.attached():
        ours = network(ids(3)).logits
    with bank.attached([2, 0, 2, 1]):
        chosen = network(ids(4)).logits
    assert torch.equal(network(ids(3)).logits, before)
    for place, weights in enumerate(made):
        theirs = with_peft(tiny_network(architecture), configuration, weights)(ids(4)).logits
        assert not torch.allclose(theirs[:3], before, atol=1e-3)
        assert_close(ours[place], theirs[place], atol=1e-4, rtol=1e-4)
        for row in (row for row, adapter in enumerate((2, 0, 2, 1)) if adapter == place):
            assert_close(chosen[row], theirs[row], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_gradient_of_an_adapter_is_the_one_that_peft_finds(architecture):
    network = tiny_network(architecture)
    made, configuration, effect = adapters(network, 2, KINDS["lora"])
    bank = Bank(network, made, effect)
    bank.values.requires_grad_(True)
    with bank.attached([0, 0, 1, 1]):
        network(ids(4)).logits.square().mean().backward()
    for number, rows in enumerate((slice(0, 2), slice(2, 4))):
        model = with_peft(tiny_network(architecture), configuration, made[number])
        # half of the rows, so that each counts twice in the mean
        (model(ids(4)[rows]).logits.square().mean() / 2).backward()
        for name, ours in bank.named(bank.values.grad[number]).items():
            theirs = model.get_parameter(name.replace(".weight", ".default.weight")).grad
            assert_close(ours, theirs, atol=1e-4 * theirs.abs().max().item(), rtol=1e-3)


def test_other_hooks_are_given_what_a_module_gives_with_its_adapters_whenever_they_were_set(tiny_llama):
    made, _, effect = adapters(tiny_llama, 1)
    module, gradients, seen = tiny_llama.model.layers[1].self_attn.q_proj, [], []

    def doubled(_module, _arguments, output):
        seen.append(output.detach())
        return 2 * output

    for before in (True, False):
        bank = Bank(tiny_llama, made, effect)
        bank.values.requires_grad_(True)
        handles = [module.register_forward_hook(doubled)] if before else []
        with bank.attached():
            handles += [] if before else [module.register_forward_hook(doubled)]
            tiny_llama(ids(1)).logits.square().sum().backward()
        handles[0].remove()
        gradients.append(bank.values.grad)
    assert torch.equal(*seen)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("kind", [LoRA(rank=64), PrefixTuning(tokens=200), PromptTuning(tokens=300)], ids=str)
def test_the_gradient_of_an_adapter_with_many_rows_is_the_same_each_time_to_the_last_bit(kind):
    network = tiny_network("llama")
    made, _, effect = adapters(network, 2, kind)
    bank = Bank(network, made, effect)
    sequences = [TokenSequence(tuple(row.tolist()), (5,)) for row in ids(12)]
    rows = [[index] for index in range(12)]
    adapter_of_row = [0] * 8 + [1] * 4

    def gradient():
        bank.values = bank.values.detach().requires_grad_(True)
        with bank.reading(lay_out(sequences, rows=rows), adapter_of_row) as (batch, cache):
            response_logits(network, batch, cache).square().sum().backward()
        return bank.values.grad

    first = gradient()
    # sums of threads that don't wait for each other differed about every second time
    assert all(torch.equal(gradient(), first) for _ in range(30))


def with_peft(network, configuration, weights):
    model = get_peft_model(network, configuration)
    loaded = set_peft_model_state_dict(model, weights)
    assert set(loaded.unexpected_keys) <= {"prompt_embeddings"}  # which is loaded all the same
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_rows_of_one_token_are_what_longer_rows_are(architecture, kind):
    network = tiny_network(architecture)
    made, _, effect = adapters(network, 3, KINDS[kind])
    bank = Bank(network, made, effect)
    own = [2, 0, 2, 1, 1]
    tokens = ids(5)[:, :1]
    with bank.attached(own):
        expected = network(tokens).logits
    with bank.attached(own, one_token=True):
        ours = network(tokens).logits
    assert_close(ours, expected, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [PromptTuning(tokens=3), PrefixTuning(tokens=3)], ids=["prompt", "prefix"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_virtual_tokens_are_what_peft_puts_before_each_row(architecture, kind):
    network = tiny_network(architecture)
    made, configuration, effect = adapters(network, 2, kind)
    bank = Bank(network, made, effect)
    sequences = [TokenSequence(tuple(row.tolist()), (1,)) for row in ids(3)]
    own, rows = [1, 0, 1], [[0], [1], [2]]
    with bank.reading(lay_out(sequences, rows=rows), own) as (batch, cache):
        ours = response_logits(network, batch, cache)
    packed = lay_out(sequences, rows=[[0, 2], [1]])
    with bank.reading(packed, [1, 0]) as (batch, cache):
        assert_close(response_logits(network, batch, cache), ours, atol=1e-4, rtol=1e-4)
    for place, weights in enumerate(made):
        model = with_peft(tiny_network(architecture), configuration, weights)
        if kind.kind == "prompt":
            theirs = model(ids(3)).logits[:, -1]
        else:  # peft 0.21 hands its prefix to an argument that transformers 5.24 has renamed
            states = model.get_prompt(3)
            positions = torch.arange(3, 12).expand(3, 9)
            mask = torch.ones(3, 12, dtype=torch.long)
            theirs = model.get_base_model()(ids(3), cache=states, position_ids=positions, attention_mask=mask)
            theirs = theirs.logits[:, -1]
        for row in (row for row in range(3) if own[row] == place):
            assert_close(ours[row], theirs[row], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["full", "dora"])
def test_whole_matrices_are_held_once_an_adapter_however_many_rows_it_has(kind, monkeypatch):
    network = tiny_network("llama")
    made, _, effect = adapters(network, 2, KINDS[kind])
    bank = Bank(network, made, effect)
    bank.values.requires_grad_(True)
    groups = set()
    update = type(effect).update

    def noting(effect, module, inputs, output, values):
        groups.update(len(tensor) for tensor in values.values())
        return update(effect, module, inputs, output, values)

    monkeypatch.setattr(type(effect), "update", noting)

    def kept(rows):
        def run():
            with bank.attached([0] * (rows // 2) + [1] * (rows // 2)):
                return network(ids(4).view(rows, -1)).logits

        return saved_bytes(run, network)

    assert kept(12) < kept(2) + 4 * bank.values[0].numel()
    assert groups == {2}


@pytest.mark.parametrize("kind", ["full", "dora"])
def test_rows_in_any_order_have_the_gradients_of_each_adapter_alone(kind):
    network = tiny_network("gpt2")
    made, _, effect = adapters(network, 3, KINDS[kind])
    made[2] = {name: tensor * torch.nan for name, tensor in made[2].items()}
    own = torch.tensor([1, 0, 2, 1, 1])  # what another adapter makes of its rows gets nowhere else

    def gradient(adapters, rows, adapter_of_row):
        bank = Bank(network, adapters, effect)
        bank.values.requires_grad_(True)
        with bank.attached(adapter_of_row):
            network(ids(5)[rows]).logits.square().sum().backward()
        return bank.values.grad

    together = gradient(made, slice(None), own.tolist())
    for place in (0, 1):
        rows = own == place
        (alone,) = gradient([made[place]], rows, [0] * int(rows.sum()))
        assert_close(together[place], alone, atol=1e-3, rtol=1e-4)
    absent = gradient(made, own < 2, own[own < 2].tolist())
    assert torch.equal(absent[2], torch.zeros_like(absent[2]))


def test_an_adapter_changes_nothing_of_another(tiny_llama):
    made, _, effect = adapters(tiny_llama, 3)
    bank = Bank(tiny_llama, made, effect)
    with bank.attached():
        before = tiny_llama(ids(3)).logits
    bank.values[1] += 1.0
    with bank.attached():
        after = tiny_llama(ids(3)).logits
    assert torch.equal(before[[0, 2]], after[[0, 2]])
    assert not torch.allclose(before[1], after[1], atol=1e-2)


def test_hooks_are_gone_whatever_happens(tiny_llama):
    made, _, effect = adapters(tiny_llama, 1)
    before = tiny_llama(ids(1)).logits
    with pytest.raises(RuntimeError, match="mishap"), Bank(tiny_llama, made, effect).attached():
        raise RuntimeError("mishap")
    assert torch.equal(tiny_llama(ids(1)).logits, before)


def test_values_are_pefts_tensors_in_and_out(tiny_llama):
    made, _, effect = adapters(tiny_llama, 3)
    bank = Bank(tiny_llama, made, effect)
    bank.keep([2, 0])
    assert len(bank) == 2
    for place, number in enumerate((2, 0)):
        assert bank.weights(place).keys() == made[number].keys()
        assert all(torch.equal(tensor, made[number][name]) for name, tensor in bank.weights(place).items())


def test_what_cannot_be_stacked_is_refused(tiny_llama):
    (one,), _, effect = adapters(tiny_llama, 1)
    (other,), _, _ = adapters(tiny_llama, 1, LoRA(rank=2))
    for wrong in ([], [one, other], [{"base_model.model.prompt": torch.zeros(2)}]):
        with pytest.raises(ValueError, match="bank"):
            Bank(tiny_llama, wrong, effect)


def test_adapters_keep_to_their_rows_where_a_projection_is_given_rows_of_rows():
    # latent attention gives (rows, 1, width, n), and the rows of the two adapters don't lie side by side
    network = shrunken_network("deepseek_v3")
    configuration = LoRA(rank=2, modules=("key", "output")).configuration(network)
    adapters = [fresh_adapter(network, configuration, seed) for seed in (0, 1)]
    generator = torch.Generator().manual_seed(0)
    for adapter in adapters:
        for tensor in adapter.weights.values():
            tensor.copy_(torch.randn(tensor.shape, generator=generator))
    tokens = torch.tensor([[5, 6, 7], [8, 9, 10], [11, 12, 13]])
    with torch.no_grad():
        for one_token in (False, True):
            with bank_of(network, adapters).attached([0, 1, 0], one_token=one_token):
                together = network(input_ids=tokens, use_cache=False).logits
            for row, number in enumerate([0, 1, 0]):
                with bank_of(network, [adapters[number]]).attached([0]):
                    alone = network(input_ids=tokens[row : row + 1], use_cache=False).logits
                assert torch.allclose(together[row : row + 1], alone, atol=1e-5)
