import pytest
import torch
from conftest import tiny_network
from peft import HRAConfig, LoHaConfig, LoKrConfig, PeftModel
from torch.testing import assert_close

from ia2.adapters.adapter import Adapter, attached, bank_of, fresh_adapter, weights_of
from ia2.adapters.full import FullFineTuning
from ia2.adapters.ia3 import IA3
from ia2.adapters.injection import injected, peft_state
from ia2.adapters.lora import LoRA
from ia2.adapters.prefix import PrefixTuning
from ia2.adapters.prompt import PromptTuning
from ia2.errors import InputError
from ia2.models.forward import response_logits
from ia2.models.layout import lay_out
from ia2.models.sequences import TokenSequence

SEQUENCES = [TokenSequence((5, 9, 13, 2), (7, 3)), TokenSequence((4, 8), (6,))]


def logits(network):
    with torch.no_grad():
        return response_logits(network, lay_out(SEQUENCES))


def filled(network, seed=0, kind=LoRA()):  # noqa: B008 - a frozen value
    """An adapter whose every tensor is changed by chance, so that it changes what the network says."""
    adapter = fresh_adapter(network, kind.configuration(network), seed)
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: tensor + torch.randn(tensor.shape, generator=generator) * 0.2 for name, tensor in adapter.weights.items()
    }
    return Adapter(adapter.configuration, weights)


ON_MODULES = [LoRA(), LoRA(dora=True), LoRA(rslora=True), IA3(), IA3(scale="input"), FullFineTuning()]
KINDS = [*ON_MODULES, PromptTuning(), PrefixTuning()]


@pytest.mark.parametrize("kind", KINDS, ids=repr)
def test_a_fresh_adapter_changes_nothing_on_modules_and_is_the_same_for_the_same_seed(network, kind):
    before, modules = logits(network), dict(network.named_modules())
    configuration = kind.configuration(network)
    one, same, other = (fresh_adapter(network, configuration, seed) for seed in (1, 1, 2))
    assert dict(network.named_modules()) == modules
    bank = bank_of(network, [one])
    if kind in ON_MODULES:
        with bank.attached([0]):
            assert_close(logits(network), before, atol=2e-5, rtol=1e-5)
    assert all(torch.equal(one.weights[name], same.weights[name]) for name in one.weights)
    if not isinstance(kind, IA3 | FullFineTuning):
        assert any(not torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_a_fresh_dora_adapter_changes_nothing_in_half_precision_either(architecture):
    network = tiny_network(architecture).to(torch.bfloat16)
    before = logits(network)
    configuration = LoRA(dora=True).configuration(network)
    bank = bank_of(network, [fresh_adapter(network, configuration, 0)])
    with bank.attached([0]):
        # the magnitudes that PEFT rounds to bfloat16 change these by 0.1
        assert_close(logits(network), before, atol=0, rtol=0)


@pytest.mark.parametrize("kind", ON_MODULES, ids=repr)
def test_what_is_saved_is_loaded_and_run_by_peft(network, tmp_path, kind):
    adapter = filled(network, kind=kind)
    adapter.save(tmp_path / "adapter")
    loaded = Adapter.load(tmp_path / "adapter")
    before, modules = logits(network), dict(network.named_modules())
    bank = bank_of(network, [loaded])
    with bank.attached([0]):
        ours = logits(network)
    with attached(network, loaded):
        assert_close(logits(network), ours, atol=1e-4, rtol=1e-4)
    assert torch.equal(logits(network), before)
    assert dict(network.named_modules()) == modules
    again = tiny_network(network.config.model_type.removesuffix("_text"))
    model = PeftModel.from_pretrained(again, str(tmp_path / "adapter"))
    assert_close(logits(model.get_base_model()), ours, atol=1e-4, rtol=1e-4)


# PEFT has nothing to merge where whole projections were trained
@pytest.mark.parametrize("kind", [kind for kind in ON_MODULES if kind != FullFineTuning()], ids=repr)
def test_what_is_saved_is_merged_by_peft(network, tmp_path, kind):
    adapter = filled(network, kind=kind)
    adapter.save(tmp_path / "adapter")
    with bank_of(network, [adapter]).attached([0]):
        ours = logits(network)
    again = tiny_network(network.config.model_type.removesuffix("_text"))
    model = PeftModel.from_pretrained(again, str(tmp_path / "adapter"))
    assert_close(logits(model.merge_and_unload()), ours, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", [PromptTuning(), PrefixTuning()], ids=repr)
def test_virtual_tokens_are_saved_as_peft_loads_them(tiny_llama, tmp_path, kind):
    adapter = filled(tiny_llama, kind=kind)
    adapter.save(tmp_path / "adapter")
    loaded = Adapter.load(tmp_path / "adapter")
    model = PeftModel.from_pretrained(tiny_network("llama"), str(tmp_path / "adapter"))
    theirs = model.get_prompt_embedding_to_save("default")
    assert torch.equal(theirs, adapter.weights["prompt_embeddings"])
    assert torch.equal(theirs, loaded.weights["prompt_embeddings"])
    assert loaded.as_record("x")["kind"] == {"prompt": "prompt_tuning", "prefix": "prefix_tuning"}[kind.kind]
    with pytest.raises(InputError, match="can't be run here"), attached(tiny_llama, loaded):
        pass


def test_an_adapter_of_another_model_makes_no_bank(tiny_llama):
    with pytest.raises(InputError, match="doesn't fit this model"):
        bank_of(tiny_llama, [filled(tiny_network("gpt2"))])
    narrow = filled(tiny_llama)
    for name, tensor in narrow.weights.items():
        narrow.weights[name] = tensor[:, :2]
    with pytest.raises(InputError, match="matrices have other shapes"):
        bank_of(tiny_llama, [narrow])
    assert bank_of(tiny_llama, [filled(tiny_llama), filled(tiny_llama, kind=LoRA(rank=2))]) is None
    assert bank_of(tiny_llama, [filled(tiny_llama), filled(tiny_llama, kind=LoRA(rslora=True))]) is None


def test_the_network_is_as_it_was_afterwards_whatever_happens(network):
    before, names = logits(network), [name for name, _ in network.named_modules()]
    adapter = filled(network)
    with pytest.raises(RuntimeError, match="mishap"), attached(network, adapter):
        assert not torch.allclose(logits(network), before)
        raise RuntimeError("mishap")
    assert torch.equal(logits(network), before)
    assert [name for name, _ in network.named_modules()] == names
    assert not any(parameter.requires_grad for parameter in network.parameters())
    with attached(network, adapter):  # and takes another adapter without a warning, which would be an error
        pass


def test_what_is_loaded_is_what_was_saved(tiny_llama, tmp_path):
    adapter = filled(tiny_llama, kind=LoRA(rank=3, alpha=6, modules=("query", "value")))
    adapter.save(tmp_path / "adapter")
    loaded = Adapter.load(tmp_path / "adapter")
    assert loaded.weights.keys() == adapter.weights.keys()
    assert all(torch.equal(loaded.weights[name], adapter.weights[name]) for name in adapter.weights)
    assert loaded.as_record("x") == {
        "kind": "lora", "rank": 3, "alpha": 6, "modules": ["q_proj", "v_proj"], "path": "x"
    }  # fmt: skip


def test_an_update_is_b_times_a_scaled_by_alpha_over_rank(tiny_llama):
    adapter = filled(tiny_llama, kind=LoRA(rank=4, alpha=6, modules=("query",)))
    module = tiny_llama.model.layers[1].self_attn.q_proj
    x = torch.randn(5, 32)
    a, b = (
        adapter.weights[f"base_model.model.model.layers.1.self_attn.q_proj.lora_{letter}.weight"].double()
        for letter in "AB"
    )
    expected = x.double() @ (module.weight.double() + 6 / 4 * b @ a).T
    with attached(tiny_llama, adapter):
        assert_close(tiny_llama.model.layers[1].self_attn.q_proj(x).double(), expected, atol=1e-5, rtol=0)


def test_only_attention_is_adapted_where_the_mlp_shares_a_name():
    # GPT-2 calls a projection of its MLP c_proj, too
    network = tiny_network("gpt2")
    names = fresh_adapter(network, LoRA().configuration(network), 0).weights
    assert names
    assert all(".attn." in name for name in names)


def test_short_module_names_are_written_where_they_are_unambiguous(tiny_llama):
    assert set(LoRA().configuration(tiny_llama).target_modules) == {"q_proj", "k_proj", "o_proj"}


def test_weights_are_copies(tiny_llama):
    with attached(tiny_llama, filled(tiny_llama)) as model:
        kept = weights_of(model)
        before = {name: tensor.clone() for name, tensor in kept.weights.items()}
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "lora_" in name:
                    parameter.add_(1.0)
    assert all(torch.equal(kept.weights[name], before[name]) for name in before)


def test_folders_without_a_whole_adapter_are_refused(tiny_llama, tmp_path):
    with pytest.raises(InputError, match="no adapter here: adapter_config.json is missing"):
        Adapter.load(tmp_path)
    filled(tiny_llama).save(tmp_path / "adapter")
    weights = tmp_path / "adapter" / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(InputError, match="can't be read"):
        Adapter.load(tmp_path / "adapter")


@pytest.mark.parametrize("architecture", ["gpt2", "opt"])
def test_an_adapter_of_another_model_is_refused(tiny_llama, architecture):
    adapter = filled(tiny_network(architecture))
    with pytest.raises(InputError, match="doesn't fit this model"), attached(tiny_llama, adapter):
        pass
    assert not any("lora" in name for name, _ in tiny_llama.named_modules())


NOT_IN_BANKS = [
    LoHaConfig(r=2, target_modules=["q_proj"]),
    HRAConfig(r=2, target_modules=["q_proj"]),
    LoKrConfig(r=2, target_modules=["q_proj"]),
]


@pytest.mark.parametrize("configuration", NOT_IN_BANKS, ids=lambda configuration: configuration.peft_type.value)
def test_an_adapter_of_a_shallower_model_is_refused_whatever_pefts_kind(tiny_llama, configuration):
    with injected(tiny_llama, configuration) as model:
        weights = {name: tensor.clone() for name, tensor in peft_state(model).items()}
    with attached(tiny_llama, Adapter(configuration, weights)):
        pass
    # the last of three layers has none: PEFT would leave it as it begins, and say nothing
    shallower = {name: tensor for name, tensor in weights.items() if ".layers.2." not in name}
    assert 0 < len(shallower) < len(weights)
    with (
        pytest.raises(InputError, match="doesn't fit this model"),
        attached(tiny_llama, Adapter(configuration, shallower)),
    ):
        pass


def test_a_record_names_a_pattern_of_modules_whole(tiny_llama):
    configuration = LoRA().configuration(tiny_llama)
    configuration.target_modules = r".*\.q_proj"
    assert Adapter(configuration, {}).as_record(None)["modules"] == [r".*\.q_proj"]


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(InputError, match="rank 0"):
        LoRA(rank=0)


def test_the_hub_is_not_asked_about_a_model_that_has_a_name(tiny_llama, monkeypatch):
    monkeypatch.setattr(tiny_llama, "name_or_path", "org/model")
    monkeypatch.setattr(tiny_llama.config, "_name_or_path", "org/model")
    monkeypatch.setattr("peft.utils.other.file_exists", lambda *_a, **_k: pytest.fail("the hub was asked"))
    assert filled(tiny_llama).configuration.base_model_name_or_path == "org/model"
