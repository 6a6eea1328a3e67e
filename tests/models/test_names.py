import json

import pytest

from ia2.errors import InputError
from ia2.models.names import check_model_name, kind_of
from ia2.models.packaged import PACKAGED


def folder(path, *files):
    path.mkdir(parents=True)
    for file in files:
        (path / file).write_bytes(b"{}" if file == "config.json" else b"GGUF")
    return path


def test_every_kind_of_name_is_told_apart(tmp_path, monkeypatch):
    whole = folder(tmp_path / "model", "config.json", "model.safetensors", "tokenizer.json")
    gguf = folder(tmp_path / "files", "m.gguf") / "m.gguf"
    monkeypatch.chdir(tmp_path)
    kinds = {
        "smollm2-135m": "packaged",
        str(whole): "folder",
        "model": "folder",
        str(gguf): "gguf",
        "files/m.gguf": "gguf",
        "HuggingFaceTB/SmolLM2-135M": "hub",
        "gpt2": "hub",
    }
    assert {name: kind_of(name) for name in kinds} == kinds
    for name in kinds:
        check_model_name(name)


@pytest.mark.parametrize(
    "name",
    ["./model", "../model", "/no/such/model", "~/model", "a/b/c", r"a\b", "org/", "org/m.gguf", "m.safetensors"],
)
def test_what_looks_like_a_path_is_never_a_hub_id(name):
    with pytest.raises(InputError, match="no such file or folder"):
        check_model_name(name)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), "config.json is missing"),
        (("config.json",), "no weights"),
        (("config.json", "model.safetensors.index.json"), "isn't JSON"),
        (("adapter_config.json",), "this folder as the adapter"),
        (("m.gguf",), "Name the GGUF file in it: .*m.gguf"),
        (("config.json", "pytorch_model.bin"), "pickled weights only"),
        (("config.json", "model.safetensors"), "no tokenizer"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_with_what_is_missing(tmp_path, files, said):
    with pytest.raises(InputError, match=said):
        check_model_name(str(folder(tmp_path / "m", *files)))


def test_files_that_are_no_gguf_are_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n")
    for name, said in (("rows.csv", "isn't a GGUF file"), ("missing.gguf", "no such file")):
        with pytest.raises(InputError, match=said):
            check_model_name(str(tmp_path / name))


def test_a_damaged_or_unfit_configuration_is_refused(tmp_path):
    path = folder(tmp_path / "m", "config.json", "model.safetensors", "tokenizer.json")
    for content, said in (("{", "isn't JSON"), ("[]", "JSON object"), ('{"is_encoder_decoder": true}', "decoder-only")):
        (path / "config.json").write_text(content)
        with pytest.raises(InputError, match=said):
            check_model_name(path)


def test_missing_shards_are_named(tmp_path):
    path = folder(tmp_path / "m", "config.json", "model-1-of-2.safetensors", "tokenizer.json")
    shards = {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    with pytest.raises(InputError, match="weights are missing: model-2-of-2.safetensors"):
        check_model_name(path)


@pytest.mark.parametrize("name", ["", "we ird", "a//b", "-x", "a--b", "x" * 97])
def test_names_that_no_hub_could_know_are_refused(name):
    with pytest.raises(InputError):
        check_model_name(name)


def test_packaged_models_are_named_by_their_name():
    assert all(name == model.name for name, model in PACKAGED.items())
