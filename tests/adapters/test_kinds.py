"""Adapters that PEFT wrote, of settings that ia2 never chooses: each is run as PEFT runs it, or refused."""

import pytest
import torch
from conftest import tiny_network
from peft import AdaLoraConfig, IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch.testing import assert_close

from ia2.adapters.adapter import Adapter, attached, bank_of
from ia2.adapters.forms import Decomposed, LearnedPrefix, LearnedPrompt, LowRank, Replaced, ScaledInputs, ScaledOutputs
from ia2.adapters.kinds import IA3, FullFineTuning, LoRA, PrefixTuning, PromptTuning, form_of
from ia2.errors import InputError
from ia2.models.layout import TokenSequence, lay_out
from ia2.models.reader import response_logits

IDS = torch.randint(1, 399, (3, 9), generator=torch.Generator().manual_seed(2))
SEQUENCES = [TokenSequence(tuple(row.tolist()), (1,)) for row in IDS]


def lora(**settings):
    return LoraConfig(
        **{"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "k_proj"], "task_type": "CAUSAL_LM", **settings}
    )


def written(folder, architecture, configuration):
    """Write an adapter as PEFT does, its every tensor changed by chance; gives what PEFT says with it once loaded."""
    model = get_peft_model(tiny_network(architecture), configuration)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    model.save_pretrained(str(folder), save_embedding_layers=False)
    loaded = PeftModel.from_pretrained(tiny_network(architecture), str(folder)).eval()
    with torch.no_grad():
        return loaded(IDS).logits[:, -1]


def as_evaluated(network, adapter):
    """What `evaluate` has the network say, with a bank where there is one, two rows of three sequences."""
    batch, bank = lay_out(SEQUENCES, rows=[[0], [1, 2]]), bank_of(network, [adapter])
    with torch.no_grad():
        if bank is not None:
            with bank.reading(batch, torch.tensor([0, 0])) as (read, cache):
                return response_logits(network, read, cache)
        with attached(network, adapter):
            return response_logits(network, batch)


SETTINGS = {
    "plain": ("llama", lora()),
    "rank pattern": ("llama", lora(rank_pattern={"q_proj": 2})),
    "alpha pattern": ("llama", lora(alpha_pattern={"q_proj": 32})),
    "bias of B": ("qwen2", lora(lora_bias=True)),
    "tokens": ("llama", lora(trainable_token_indices=[int(IDS[0, 3]), int(IDS[1, 5])])),
    "beginning": ("llama", lora(init_lora_weights="gaussian")),
    "layers": ("llama", lora(layers_to_transform=[0, 2])),
    "feed-forward": ("llama", lora(target_modules=["q_proj", "down_proj"])),
    "feed-forward without rows": ("opt", lora(target_modules=["q_proj", "fc1", "fc2"])),
    "head": ("llama", lora(target_modules=["q_proj", "lm_head"])),
    "embeddings": ("llama", lora(target_modules=["q_proj", "embed_tokens"])),
    "dora of embeddings": ("llama", lora(use_dora=True, target_modules=["q_proj", "embed_tokens"])),
    "norms of their own": ("llama", lora(target_modules=DUMMY_TARGET_MODULES, modules_to_save=["norm"])),
    "a head of its own": ("llama", lora(target_modules=DUMMY_TARGET_MODULES, modules_to_save=["lm_head"])),
    "projections of their own": ("llama", lora(target_modules=DUMMY_TARGET_MODULES, modules_to_save=["q_proj"])),
    "dora": ("llama", lora(use_dora=True)),
    "adalora": ("llama", AdaLoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], total_step=10, init_r=4)),
    "pissa": ("llama", lora(init_lora_weights="pissa")),
    "olora": ("llama", lora(init_lora_weights="olora")),
    "every bias": ("qwen2", lora(bias="all")),
    "ia3 as PEFT chooses": ("llama", IA3Config(task_type="CAUSAL_LM")),
}


@pytest.mark.filterwarnings("ignore:.*invalid shape:peft.utils.warning.PeftWarning")  # of a bias, which is loaded
@pytest.mark.parametrize("setting", SETTINGS)
def test_an_adapter_of_any_settings_is_run_as_peft_runs_it(setting, tmp_path):
    architecture, configuration = SETTINGS[setting]
    expected = written(tmp_path / "adapter", architecture, configuration)
    network = tiny_network(architecture)
    assert_close(as_evaluated(network, Adapter.load(tmp_path / "adapter")), expected, atol=1e-4, rtol=1e-4)


def test_an_adapter_that_waits_for_its_invocation_is_refused(tiny_llama, tmp_path):
    # PEFT looks for the tokens in whole rows, where ours hold several sequences, or the end of one
    written(tmp_path / "adapter", "llama", lora(alora_invocation_tokens=[int(IDS[0, 4]), int(IDS[0, 5])]))
    with pytest.raises(InputError, match="alora_invocation_tokens"):
        as_evaluated(tiny_llama, Adapter.load(tmp_path / "adapter"))


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        (LoRA(rank=4, alpha=6), LowRank(1.5)),
        (LoRA(rank=4, alpha=6, rslora=True, dropout=0.1), LowRank(3.0, 0.1)),
        (LoRA(rank=4, alpha=6, dora=True), Decomposed(1.5)),
        (IA3(), ScaledOutputs()),
        (IA3(scale="input"), ScaledInputs()),
        (PromptTuning(tokens=3), LearnedPrompt(3)),
        (PrefixTuning(tokens=3), LearnedPrefix(3)),
        (FullFineTuning(), Replaced()),
    ],
    ids=repr,
)
def test_the_form_of_each_kind_outlives_its_file(tiny_llama, tmp_path, kind, form):
    configuration = kind.configuration(tiny_llama)
    assert form_of(configuration) == form
    Adapter(configuration, {"none": torch.zeros(1)}).save(tmp_path / "adapter")
    assert form_of(Adapter.load(tmp_path / "adapter").configuration) == form


@pytest.mark.parametrize(
    "configuration",
    [
        lora(bias="all"),
        lora(modules_to_save=["lm_head"]),
        lora(init_lora_weights="pissa"),
        lora(target_parameters=["x"]),
        IA3Config(target_modules=["q_proj", "k_proj"], feedforward_modules=["q_proj"]),
        IA3Config(target_modules=["q_proj"]),
        IA3Config(target_modules=["q_proj"], feedforward_modules=[], modules_to_save=["lm_head"]),
        PromptTuningConfig(num_virtual_tokens=3, modules_to_save=["lm_head"]),
        PrefixTuningConfig(num_virtual_tokens=3, prefix_projection=True),
    ],
    ids=lambda configuration: type(configuration).__name__,
)
def test_settings_that_no_bank_knows_have_no_form(configuration):
    assert form_of(configuration) is None
