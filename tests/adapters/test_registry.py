"""Adapters that PEFT wrote, of settings that ia2 never chooses: each is run as PEFT runs it, or refused."""

import subprocess
import sys
from dataclasses import fields
from typing import get_type_hints

import pytest
import torch
from conftest import tiny_network
from peft import AdaLoraConfig, IA3Config, LoraConfig, PeftModel, PrefixTuningConfig, PromptTuningConfig, get_peft_model
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch.testing import assert_close

from ia2.adapters.adapter import Adapter, attached, bank_of
from ia2.adapters.full import FullFineTuning, Replaced
from ia2.adapters.ia3 import IA3, ScaledInputs, ScaledOutputs
from ia2.adapters.lora import Decomposed, LoRA, LowRank
from ia2.adapters.prefix import LearnedPrefix, PrefixTuning
from ia2.adapters.prompt import LearnedPrompt, PromptTuning
from ia2.adapters.registry import KINDS, adapter_of, effect_of, kind_named, label, sizes_of
from ia2.errors import InputError
from ia2.models.forward import response_logits
from ia2.models.layout import lay_out
from ia2.models.sequences import TokenSequence

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
            with bank.reading(batch, [0, 0]) as (read, cache):
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
    ("kind", "effect"),
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
def test_the_form_of_each_kind_outlives_its_file(tiny_llama, tmp_path, kind, effect):
    configuration = kind.configuration(tiny_llama)
    assert effect_of(configuration) == effect
    Adapter(configuration, {"none": torch.zeros(1)}).save(tmp_path / "adapter")
    assert effect_of(Adapter.load(tmp_path / "adapter").configuration) == effect


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
    assert effect_of(configuration) is None


@pytest.mark.parametrize("name", KINDS)
def test_the_sizes_that_are_read_from_a_kinds_source_are_those_of_its_dataclass(name):
    kind = kind_named(name)
    assert kind.kind == name
    sizes = sizes_of(name)
    assert {size.name: size.default for size in sizes} == {field.name: field.default for field in fields(kind)}
    hints = get_type_hints(kind)
    for size in sizes:
        assert size.type == hints[size.name]
        assert size.help.endswith(".")
    as_yaml = {size.name: list(size.default) if size.name == "modules" else size.default for size in sizes}
    assert adapter_of(name, as_yaml) == kind()


def test_the_sizes_are_shown_without_torch():
    program = (
        "import sys; from ia2.adapters.registry import *; list(map(sizes_of, KINDS)); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout.strip() == b"False"


@pytest.mark.parametrize(
    ("name", "sizes", "said"),
    [
        ("lorra", {}, "adapter lorra: there is no such kind; choose from lora, ia3"),
        ("ia3", {"rank": 4}, "rank: ia3 has no such size; it has modules, scale."),
        ("lora", {"rank": 0}, "rank 0: this must be 1 or more."),
        ("lora", {"modules": []}, "modules: at least one projection must be named."),
        ("lora", {"dropout": 0.1, "dora": True}, "dropout 0.1: DoRA is trained without"),
        ("prompt", {"tokens": 0}, "tokens 0: this must be 1 or more."),
    ],
)
def test_what_is_no_adapter_is_refused_by_its_field(name, sizes, said):
    with pytest.raises(InputError) as refusal:
        adapter_of(name, sizes)
    assert str(refusal.value).startswith(said)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"kind": "lora", "rank": 8, "alpha": 8, "modules": ["query", "key", "output"]}, "lora"),
        ({"kind": "lora", "rank": 4, "alpha": 8, "modules": ["query", "value"], "dora": True}, "lora r4 α8 dora q,v"),
        ({"kind": "ia3", "rank": None, "alpha": None, "modules": [], "scale": "input"}, "ia3 inputs"),
        ({"kind": "prefix", "rank": None, "alpha": None, "modules": [], "tokens": 3}, "prefix 3 tokens"),
        ({"kind": "adalora", "rank": 4, "alpha": 8, "modules": ["q_proj"]}, "adalora"),
    ],
)
def test_tables_call_an_adapter_by_its_kind_and_what_is_unusual(record, expected):
    assert label(record) == expected
