"""What every kind has in common, held against PEFT: shapes, starting values, configurations."""

import copy
import json

import pytest
import torch
from conftest import ARCHITECTURES, tiny_network
from peft import PeftModel, get_peft_model, set_peft_model_state_dict

from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.bank import Bank
from ia2.adapters.full import FullFineTuning
from ia2.adapters.ia3 import IA3
from ia2.adapters.injection import injected, peft_state
from ia2.adapters.kind import check_modules
from ia2.adapters.lora import LoRA
from ia2.adapters.low_rank_products import JointReduction
from ia2.adapters.prefix import PrefixTuning
from ia2.adapters.prompt import PromptTuning
from ia2.adapters.registry import KINDS, effect_of, kind_named
from ia2.errors import InputError
from ia2.randomness import derived_seed

ON_MODULES = [LoRA(), LoRA(rank=3, modules=("value",), dora=True), LoRA(rslora=True), IA3(), IA3(scale="input")]


def as_peft_begins(network, configuration, seed):
    """The tensors of a new adapter in PEFT's hands."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "adapter"))
        with injected(network, configuration) as model:
            return {name: tensor.clone() for name, tensor in peft_state(model).items()}


@pytest.mark.parametrize("kind", ON_MODULES, ids=repr)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_names_shapes_and_starting_values_are_pefts_to_the_bit(architecture, kind):
    network = tiny_network(architecture)
    configuration = kind.configuration(network)
    theirs = as_peft_begins(network, configuration, 3)
    ours = fresh_adapter(network, configuration, 3).weights
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert dict(effect_of(configuration).shapes(network, configuration)) == {n: t.shape for n, t in theirs.items()}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_network_in_half_precision_begins_with_pefts_numbers_too(dtype):
    network = tiny_network("llama").to(dtype)
    configuration = LoRA().configuration(network)
    theirs = as_peft_begins(network, configuration, 1)
    ours = fresh_adapter(network, configuration, 1).weights
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_prompt_tuning_begins_with_the_words_that_peft_draws():
    network, kind = tiny_network("llama"), PromptTuning(tokens=5)
    configuration = kind.configuration(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(2, "adapter"))
        model = get_peft_model(network, kind.configuration(network))
    theirs = model.get_prompt_embedding_to_save("default")
    assert torch.equal(fresh_adapter(network, configuration, 2).weights["prompt_embeddings"], theirs)


@pytest.mark.parametrize("kind", [PromptTuning(tokens=3), PrefixTuning(tokens=3), FullFineTuning()], ids=repr)
def test_other_kinds_have_the_shapes_of_what_they_begin_with(network, kind):
    configuration = kind.configuration(network)
    weights = fresh_adapter(network, configuration, 0).weights
    expected = effect_of(configuration).shapes(network, configuration)
    assert dict(expected) == {name: tensor.shape for name, tensor in weights.items()}


@pytest.mark.filterwarnings("ignore:`lora_bias=True` was passed:UserWarning")
@pytest.mark.parametrize("name", KINDS)
def test_peft_loads_what_each_kind_saves_and_a_record_names_its_sizes(tiny_llama, tmp_path, name):
    kind = kind_named(name)()
    adapter = fresh_adapter(tiny_llama, kind.configuration(tiny_llama), 0)
    adapter.save(tmp_path / "adapter")
    PeftModel.from_pretrained(tiny_network("llama"), str(tmp_path / "adapter"))
    loaded = Adapter.load(tmp_path / "adapter")
    assert effect_of(loaded.configuration) == effect_of(adapter.configuration)
    record = json.loads(json.dumps(kind.as_record("here")))
    assert record["kind"] == name
    assert kind.label(record) == name


def test_a_bank_in_bfloat16_errs_less_than_twice_as_much_as_peft(monkeypatch):
    # PEFT keeps the factors in float32, and computes with them in float32
    kind, seen, ratios = LoRA(rank=4, alpha=6), set(), []
    plain = JointReduction.added

    def noting(self, member, module, output, b):
        changed = plain(self, member, module, output, b)
        seen.add((self.a.dtype, b.dtype, output.dtype, changed.dtype))
        return changed

    monkeypatch.setattr(JointReduction, "added", noting)
    for seed in range(6):
        network, generator = tiny_network("llama", seed).to(torch.bfloat16), torch.Generator().manual_seed(seed)
        configuration = kind.configuration(network)
        weights = {
            name: torch.randn(tensor.shape, generator=generator) * 0.2
            for name, tensor in fresh_adapter(network, configuration, 0).weights.items()
        }
        ids = torch.randint(1, 399, (2, 7), generator=generator)
        bank = Bank(network, [weights, weights], effect_of(configuration))
        bank.values.requires_grad_(True)
        with bank.attached():
            ours = network(ids).logits
        ours.float().square().mean().backward()
        assert bank.values.grad.dtype == torch.float32
        our_gradient = bank.named(bank.values.grad.sum(0))
        theirs, their_gradient = peft_says(network, configuration, weights, ids)
        truth, gradient = peft_says(network.double(), configuration, weights, ids)
        ratios.append(
            [
                distance(ours, truth) / distance(theirs, truth),
                sum(distance(our_gradient[name], gradient[name]) for name in gradient)
                / sum(distance(their_gradient[name], gradient[name]) for name in gradient),
            ]
        )
    # nothing is cast up: the same rounding at every step as the network's own
    assert seen == {(torch.bfloat16,) * 4}
    of_logits, of_gradients = torch.tensor(ratios).log().mean(0).exp().tolist()
    assert of_logits < 1.5, ratios
    assert of_gradients < 2, ratios


def peft_says(network, configuration, weights, ids):
    """Logits by PEFT, and the gradient of their mean square for each of the adapter's tensors."""
    model = get_peft_model(copy.deepcopy(network), configuration, autocast_adapter_dtype=True)
    if network.dtype == torch.float64:
        model = model.double()
    set_peft_model_state_dict(model, weights)
    logits = model.eval()(ids).logits
    logits.to(torch.promote_types(logits.dtype, torch.float32)).square().mean().backward()
    parameters = {name.replace(".default", ""): value for name, value in model.named_parameters()}
    return logits, {name: parameters[name].grad for name in weights}


def distance(found, truth):
    """How far a tensor is from what it should be, as a share of that."""
    return ((found.detach().double() - truth.detach()).norm() / truth.detach().norm()).item()


def test_a_module_that_is_no_projection_is_refused_by_name():
    with pytest.raises(InputError, match=r"modules q_proj: choose from query, key, value, output\."):
        check_modules(["query", "q_proj"])
