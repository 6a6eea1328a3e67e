"""What every kind has in common, held against PEFT: shapes, starting values, configurations."""

import json

import pytest
import torch
from conftest import ARCHITECTURES, tiny_network
from peft import PeftModel, get_peft_model, set_peft_model_state_dict
from torch.testing import assert_close

from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.bank import Bank
from ia2.adapters.full import FullFineTuning
from ia2.adapters.ia3 import IA3
from ia2.adapters.injection import injected, peft_state
from ia2.adapters.kind import AdditiveEffect, check_modules
from ia2.adapters.lora import LoRA, LowRank
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


def test_a_frozen_output_keeps_its_dtype_and_only_what_is_added_is_cast(monkeypatch):
    network = tiny_network("llama").to(torch.bfloat16)
    configuration = LoRA().configuration(network)
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.randn(tensor.shape, generator=generator) * 0.2
        for name, tensor in fresh_adapter(network, configuration, 0).weights.items()
    }
    effect = effect_of(configuration)
    assert isinstance(effect, AdditiveEffect)
    seen = []
    plain = LowRank.added

    def noting(self, module, inputs, output, values):
        changed = plain(self, module, inputs, output, values)
        seen.append((output.dtype, changed.dtype, self.delta(module, inputs, values).dtype))
        return changed

    monkeypatch.setattr(LowRank, "added", noting)
    ids = torch.randint(1, 399, (2, 7), generator=generator)
    with Bank(network, [weights, weights], effect).attached(), torch.no_grad():
        ours = network(ids).logits
    assert set(seen) == {(torch.bfloat16, torch.bfloat16, torch.float32)}
    model = get_peft_model(network, configuration, autocast_adapter_dtype=True)
    set_peft_model_state_dict(model, weights)
    with torch.no_grad():
        theirs = model.eval()(ids).logits
    # both round to bfloat16 in the end, by other ways: eight bits of mantissa
    assert_close(ours, theirs, atol=0.05 * theirs.abs().max().item(), rtol=0)


def test_a_module_that_is_no_projection_is_refused_by_name():
    with pytest.raises(InputError, match=r"modules q_proj: there are query, key, value, output\."):
        check_modules(["query", "q_proj"])
