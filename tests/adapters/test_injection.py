import copy

import pytest
import torch
from conftest import tiny_network
from peft import IA3Config, LoraConfig, PeftModel
from peft.tuners.lora.config import KasaConfig

from benchmarks.shrunken import shrunken_network
from ia2.adapters.adapter import Adapter, attached, bank_of, fresh_adapter, weights_of
from ia2.adapters.injection import check_reloads, injected, peft_state
from ia2.adapters.lora import LoRA
from ia2.errors import InputError


def lora(**settings):
    return LoraConfig(**{"r": 4, "target_modules": ["q_proj", "k_proj"], "task_type": "CAUSAL_LM", **settings})


CHANGING = {
    "plain": lora(),
    "pissa": lora(init_lora_weights="pissa"),
    "pissa, found by chance": lora(init_lora_weights="pissa_niter_4"),
    "olora": lora(init_lora_weights="olora"),
    "kasa": lora(kasa_config=KasaConfig()),
    "every bias": lora(bias="all"),
    "biases": lora(bias="lora_only"),
    "a module saved whole": lora(modules_to_save=["lm_head"]),
    "tokens": lora(trainable_token_indices=[3, 4]),
    "a parameter": lora(target_modules=[], target_parameters=["mlp.up_proj.weight"]),
    "ia3": IA3Config(task_type="CAUSAL_LM"),
}


def trained(configuration):
    """An adapter as PEFT has it, its every tensor changed by chance, and what PEFT says with it."""
    with injected(tiny_network("qwen2"), configuration) as model, torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
        return weights_of(model)


@pytest.mark.parametrize("setting", CHANGING)
def test_an_adapter_leaves_the_network_bit_for_bit_as_it_was(setting):
    adapter = trained(CHANGING[setting])
    network = tiny_network("qwen2")
    modules, parameters = dict(network.named_modules()), dict(network.named_parameters())
    before = {name: (parameter.clone(), parameter.stride()) for name, parameter in parameters.items()}
    text = torch.tensor([[5, 9, 3, 4]])
    alone = network(text).logits
    for _ in range(2):
        bank_of(network, [adapter])
        with attached(network, adapter):
            assert not torch.equal(network(text).logits, alone)
        assert dict(network.named_modules()) == modules
        for name, parameter in network.named_parameters():
            assert parameter is parameters[name]
            assert torch.equal(parameter, before[name][0])
            assert parameter.stride() == before[name][1]
            assert not parameter.requires_grad
        assert torch.equal(network(text).logits, alone)


@pytest.mark.parametrize("beginning", ["corda", "lora_ga"])
def test_an_adapter_that_began_with_what_only_training_knew_is_refused(tiny_llama, beginning):
    adapter = Adapter(lora(init_lora_weights="gaussian"), {"weight": torch.zeros(4, 4)})
    adapter.configuration.init_lora_weights = beginning
    with pytest.raises(InputError, match="path_initial_model_for_weight_conversion"), attached(tiny_llama, adapter):
        pass


def test_an_adapter_without_the_modules_that_its_configuration_saves_whole_is_refused(tiny_llama):
    adapter = fresh_adapter(tiny_llama, lora(), seed=0)
    lacking = Adapter(lora(modules_to_save=["lm_head"]), adapter.weights)
    with pytest.raises(InputError, match="names other layers or modules"), attached(tiny_llama, lacking):
        pass


def test_a_network_into_which_half_an_adapter_went_is_as_it_was(tiny_llama):
    modules = dict(tiny_llama.named_modules())
    with (
        pytest.raises(InputError, match="doesn't fit this model"),
        injected(tiny_llama, lora(target_modules=["q_proj", "post_attention_layernorm"])),
    ):
        pass
    assert dict(tiny_llama.named_modules()) == modules
    with injected(tiny_llama, lora()):  # without a warning that there was one before, which would be an error
        pass


def test_a_network_of_which_peft_reads_other_names_is_refused():
    network = shrunken_network("unlimited_ocr")
    said = (
        r"^unlimited_ocr: PEFT reads model\.language_model\.layers\.0\.self_attn\.k_proj\.lora_A\.weight as of "
        r"model\.language_model\.language_model\.layers\.0\.self_attn\.k_proj, which this model hasn't got"
    )
    with pytest.raises(InputError, match=said):
        fresh_adapter(network, LoRA(rank=2).configuration(network), seed=0)


@pytest.mark.parametrize("kind", ["llama", "mixtral", "qwen3_moe", "llava", "gemma3"])
def test_networks_whose_old_names_are_others_keep_their_adapters(kind, tmp_path):
    network = shrunken_network(kind)
    adapter = fresh_adapter(network, LoRA(rank=2).configuration(network), seed=0)
    check_reloads(network, adapter.configuration, adapter.weights)
    adapter.save(tmp_path / "adapter")
    reloaded = PeftModel.from_pretrained(copy.deepcopy(network), str(tmp_path / "adapter"))
    state = peft_state(reloaded)
    assert state.keys() == adapter.weights.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in adapter.weights.items())
