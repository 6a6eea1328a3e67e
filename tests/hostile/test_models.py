"""Files of models and adapters that a stranger has made: nothing in them runs, and nothing outside them is read."""

import builtins
import json
import pickle
import shutil
import time
from pathlib import Path

import pytest
import torch
from command_line import adapt, run, write_csv
from conftest import tiny_language_model

from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.adapters.provenance import Provenance
from ia2.errors import InputError
from ia2.models.load import load_configuration, load_model


class Telling:
    """What makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (Path(self.path),)


@pytest.fixture
def telling(tmp_path, monkeypatch):
    """A pickle that makes a file when it is read, with the file; nobody is asked anything meanwhile."""

    def asked(*_arguments):
        raise AssertionError("a person was asked whether to run code")

    monkeypatch.setattr(builtins, "input", asked)
    ran = tmp_path / "ran"
    content = pickle.dumps({"weight": Telling(str(ran))})
    pickle.loads(content)
    assert ran.exists(), "it would tell"
    ran.unlink()
    return content, ran


@pytest.fixture
def saved(folder):
    """A tiny model's folder and its configuration."""
    return folder, json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.safetensors", "pytorch_model-00001-of-00001.bin"])
def test_pickled_weights_are_never_read(saved, telling, name):
    (folder, _), (content, ran) = saved, telling
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(content)
    torch.save({"weight": Telling(str(ran))}, folder / "model.pt")
    with pytest.raises(InputError, match="pickled weights only|weights can't be loaded"):
        load_model(folder, device="cpu")
    assert not ran.exists()


@pytest.mark.parametrize("shard", ["evil.bin", "../outside.safetensors", "/etc/passwd", "https://example.org/w", 7, ""])
def test_an_index_names_files_beside_it_alone(saved, telling, tmp_path, shard):
    (folder, _), (content, ran) = saved, telling
    (folder / "evil.bin").write_bytes(content)
    shutil.move(folder / "model.safetensors", tmp_path / "outside.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"lm_head.weight": shard}}))
    with pytest.raises(InputError, match=r"only \.safetensors files beside it are read") as raised:
        load_model(folder, device="cpu")
    assert "\n" not in str(raised.value)
    assert not ran.exists()


@pytest.mark.parametrize("local", [True, False])
def test_code_of_a_models_own_never_runs_and_nobody_is_asked(saved, telling, local, tmp_path):
    (folder, configuration), (_, ran) = saved, telling
    for name in ("modeling_evil", "configuration_evil", "tokenization_evil"):
        (folder / f"{name}.py").write_text(f"import pathlib\npathlib.Path({str(ran)!r}).touch()\n")
    code = {
        "AutoConfig": "configuration_evil.Evil",
        "AutoModelForCausalLM": "modeling_evil.Evil",
        "AutoTokenizer": ["tokenization_evil.Evil", None],
    }
    unknown = {} if local else {"model_type": "evil", "architectures": ["Evil"]}
    (folder / "config.json").write_text(json.dumps(configuration | {"auto_map": code} | unknown))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"auto_map": code}))
    if local:  # transformers knows this kind itself
        assert load_model(folder, device="cpu").network.config.model_type == "llama"
    else:
        for load in (load_configuration, load_model):
            with pytest.raises(InputError, match=r"config\.json can't be read") as raised:
                load(str(folder))
            assert "\n" not in str(raised.value)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_hidden_layers": 10**9}, f"there are {10**9} layers; at most 10000 are supported"),
        ({"attn_implementation": "kernels-community/evil"}, "asks for attention kernels of kernels-community/evil"),
        ({"hidden_size": "x"}, "can't be read"),
        ({"model_type": ["llama"]}, "can't be read"),
    ],
)
def test_configurations_that_ask_for_the_impossible_are_refused(saved, changes, reason):
    folder, configuration = saved
    (folder / "config.json").write_text(json.dumps(configuration | changes))
    with pytest.raises(InputError, match=reason) as raised:
        load_model(folder, device="cpu")
    assert "\n" not in str(raised.value)


def test_a_configuration_of_a_hundred_thousand_brackets_is_refused(saved):
    folder, _ = saved
    (folder / "config.json").write_text('{"a":' * 100_000)
    with pytest.raises(InputError, match=r"config\.json: this file is damaged"):
        load_model(folder, device="cpu")


def enlarge(file):
    """Ten gigabytes of nothing, which take no room on the disk."""
    with file.open("ab") as open_file:
        open_file.truncate(10**10)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"])
def test_settings_of_a_model_that_are_far_too_large_are_not_read(saved, name):
    folder, _ = saved
    enlarge(folder / name)
    begun = time.process_time()
    with pytest.raises(
        InputError, match=f"{name}: this file is damaged, it has 10.0 GB, and no such file has more than"
    ):
        load_model(folder, device="cpu")
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("name", ["adapter_config.json", "taught.json"])
def test_settings_of_an_adapter_that_are_far_too_large_are_not_read(tmp_path, name):
    model = tiny_language_model()
    fresh_adapter(model.network, LoRA(rank=2).configuration(model.network), seed=0).save(tmp_path)
    enlarge(tmp_path / name)
    begun = time.process_time()
    with pytest.raises(InputError, match=r"adapter_config.json: it has 10.0 GB|taught.json: this file is damaged"):
        Adapter.load(tmp_path)
        Provenance.beside(tmp_path)
    assert time.process_time() - begun < 5


@pytest.mark.parametrize("name", ["adapter_model.bin", "adapter_model.safetensors"])
def test_an_adapters_pickle_is_never_read(tmp_path, telling, name):
    model, (content, ran) = tiny_language_model(), telling
    fresh_adapter(model.network, LoRA(rank=2).configuration(model.network), seed=0).save(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    (tmp_path / "adapter" / name).write_bytes(content)
    with pytest.raises(InputError, match=r"adapter_model\.safetensors is missing|the adapter can't be read"):
        Adapter.load(tmp_path / "adapter")
    assert not ran.exists()


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(10**9) %}{% endfor %}",
        "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ 1 / 0 }}",
        "{{ messages + 1 }}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        # one call of C's each: of all memory, or of hours
        "{{ 'x' * 10**10 }}",
        "{{ 'x' | center(10**11) }}",
        "{% set a = namespace(text='x') %}{% for i in range(99) %}{% set a.text = a.text ~ a.text %}{% endfor %}",
        "{% set all = namespace(text=[1]) %}{% for i in range(99) %}{% set all.text = all.text * 2 %}{% endfor %}",
        "{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
        "{% for i in range(100) %}{{ 'x' * 99999 }}{% endfor %}",
        "{{ 9 ** (9 ** 9) }}",
        "{{ 1.5 | round(10**9, 'ceil') }}",
        "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    ],
)
def test_a_chat_template_that_loops_or_breaks_ends_in_a_sentence(folder, tmp_path, capsys, monkeypatch, template):
    monkeypatch.setattr("ia2.prompting.chat_templates.PATIENCE", 0.3)
    (folder / "chat_template.jinja").write_text(template)
    status, _, err = adapt(capsys, tmp_path, folder, write_csv(tmp_path / "rows.csv"), "--chat")
    assert status == 2, err
    sentence = err.splitlines()[-1]
    assert sentence.startswith("--chat: this model's chat template ")
    assert len(sentence) < 300
    assert not (tmp_path / "out").exists()


def test_predicting_with_an_adapter_that_names_an_address_fetches_nothing(tmp_path, capsys):
    model = tiny_language_model()
    fresh_adapter(model.network, LoRA(rank=2).configuration(model.network), seed=0).save(tmp_path / "adapter")
    taught = {"labels": ["0", "1"], "chat": False, "weights": None, "queries": [], "model": "https://example.org/m"}
    (tmp_path / "adapter" / "taught.json").write_text(json.dumps(taught))
    status, _, err = run(capsys, "predict", "--adapter", tmp_path / "adapter", "a")
    assert status == 2
    assert "this is a URL, and URLs are not downloaded" in err
