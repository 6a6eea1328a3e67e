import json
import sys
from dataclasses import replace

import pytest
from conftest import tiny_network
from peft import LoraConfig

from ia2.adapters import configuration
from ia2.adapters.adapter import Adapter, adapted, attached, bank_of, fresh_adapter
from ia2.adapters.configuration import FILE, check_patterns, check_rank, check_runs_here, read_configuration
from ia2.adapters.export.merged import export_merged
from ia2.adapters.lora import LoRA
from ia2.errors import InputError


@pytest.fixture
def folder(tiny_llama, tmp_path):
    """An adapter's folder."""
    fresh_adapter(tiny_llama, LoRA(rank=2).configuration(tiny_llama), seed=0).save(tmp_path / "adapter")
    return tmp_path / "adapter"


def rewritten(folder, **settings):
    """The folder with other settings in its configuration."""
    content = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps(content | settings))
    return folder


def test_what_was_saved_is_read(folder):
    read = read_configuration(folder)
    assert (read.r, read.lora_alpha, read.peft_type, sorted(read.target_modules)) == (
        *(2, 8, "LORA"),
        ["k_proj", "o_proj", "q_proj"],
    )


def test_whole_numbers_stand_for_decimal_ones(folder, tiny_model):
    adapter = Adapter.load(rewritten(folder, lora_dropout=0, lora_alpha=8))
    assert bank_of(tiny_model.network, [adapter]).effect.dropout_rate == 0.0


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"r": 0}, "r is 0"),
        ({"r": 10**30}, f"r is {10**30}"),
        ({"r": "8"}, "r is '8'"),
        ({"lora_alpha": None}, "lora_alpha is None"),
        ({"lora_alpha": float("inf")}, "lora_alpha is inf"),
        ({"lora_dropout": 1.5}, r"lora_dropout is 1\.5"),
        ({"target_modules": [["q_proj"]]}, "unhashable"),
        ({"target_modules": [7]}, r"target_modules is \{7\}"),
        ({"layers_to_transform": ["x"]}, r"layers_to_transform is \['x'\]"),
        ({"modules_to_save": "all-linear"}, "modules_to_save is 'all-linear'"),
        ({"modules_to_save": ["lm_head", ""]}, r"modules_to_save is \['lm_head', ''\]"),
        ({"use_dora": "yes"}, "use_dora is 'yes'"),
        ({"peft_type": "NEW"}, "NEW"),
        ({"peft_type": None}, "it says no peft_type|None"),
    ],
)
def test_settings_that_make_no_sense_are_refused_in_a_sentence(folder, settings, reason):
    with pytest.raises(InputError, match=reason) as raised:
        Adapter.load(rewritten(folder, **settings))
    assert str(raised.value).startswith(f"{folder}: the adapter can't be read (")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("content", ["{}", "[]", "3", "", "{", '{"a":' * 100_000])
def test_files_of_something_else_are_refused(folder, content):
    (folder / FILE).write_text(content)
    with pytest.raises(InputError, match="the adapter can't be read"):
        Adapter.load(folder)


@pytest.mark.parametrize(
    "settings",
    [
        {"peft_type": "XLORA", "hidden_size": 32, "adapters": {"0": "https://example.org/evil"}},
        {"peft_type": "SHADOW", "shadow_model": "/elsewhere"},
    ],
)
def test_kinds_that_load_more_from_elsewhere_are_refused(folder, settings):
    (folder / FILE).write_text(json.dumps(settings))
    with pytest.raises(InputError, match=f"{settings['peft_type']} load others from wherever"):
        Adapter.load(folder)


def test_no_library_is_imported_that_a_configuration_names(folder, tiny_model, tmp_path, monkeypatch):
    (tmp_path / "named_by_a_stranger.py").write_text("raise SystemExit('this ran')")
    monkeypatch.syspath_prepend(tmp_path)
    stranger = {"megatron_config": {"hidden_size": 32}, "megatron_core": "named_by_a_stranger"}
    adapter = Adapter.load(rewritten(folder, **stranger))
    with pytest.raises(InputError, match="megatron_config can't be run here"), adapted(tiny_model, [adapter]):
        pass
    with pytest.raises(InputError):
        export_merged(adapter, tiny_model, tmp_path / "merged")
    assert "named_by_a_stranger" not in sys.modules


@pytest.mark.parametrize("setting", ["target_modules", "exclude_modules"])
def test_a_pattern_that_would_take_for_ever_is_refused(folder, tiny_model, tmp_path, monkeypatch, setting):
    monkeypatch.setattr(configuration, "PATIENCE", 0.2)
    adapter = Adapter.load(rewritten(folder, **{setting: r"(\w+|\.|[\w.]+)+!"}))
    for use in (
        lambda: bank_of(tiny_model.network, [adapter]),
        lambda: attached(tiny_model.network, adapter).__enter__(),
        lambda: export_merged(adapter, tiny_model, tmp_path / "merged"),
    ):
        with pytest.raises(InputError, match=r"patterns of module names that take over 0\.2 seconds"):
            use()


def test_a_pattern_that_is_none_is_refused(tiny_llama):
    with pytest.raises(InputError, match="names modules in a way that can't be read"):
        check_patterns(tiny_llama, LoraConfig(target_modules="(q_proj"))
    check_patterns(tiny_llama, LoraConfig(target_modules=r".*\.q_proj"))
    check_patterns(tiny_llama, LoraConfig(target_modules=["q_proj"]))


def test_a_configuration_that_names_no_modules_is_refused(tiny_llama):
    adapter = fresh_adapter(tiny_llama, LoRA().configuration(tiny_llama), seed=0)
    nameless = LoraConfig(task_type="CAUSAL_LM", target_modules=None)
    with pytest.raises(InputError, match=r"names no modules \(target_modules\)"):
        bank_of(tiny_llama, [replace(adapter, configuration=nameless)])


def test_a_rank_is_at_most_as_large_as_a_matrix():
    check_rank(LoraConfig(r=8), [8, 3])
    with pytest.raises(InputError, match="says rank 9, and no matrix is that large"):
        check_rank(LoraConfig(r=9), [8, 3])
    with pytest.raises(InputError, match="says rank 10000"):
        check_rank(LoraConfig(r=8, rank_pattern={"q_proj": 10_000}), [8, 3])


def test_settings_that_take_more_than_modules_are_refused():
    check_runs_here(LoraConfig())
    with pytest.raises(InputError, match="layer_replication can't be run here"):
        check_runs_here(LoraConfig(layer_replication=[(0, 1)]))


def test_a_configuration_that_breaks_pefts_own_code_ends_in_a_sentence(folder):
    network = tiny_network("llama")
    adapter = Adapter.load(rewritten(folder, rank_pattern={"q_proj": 3}, alpha_pattern={"q_proj": "x"}))
    with pytest.raises(InputError, match="the adapter doesn't fit this model"), attached(network, adapter):
        pass
    assert not hasattr(network, "peft_config")
    whole = replace(adapter, configuration=LoRA(rank=2).configuration(network))
    assert bank_of(network, [whole]) is not None
