import pytest

from ia2.errors import InputError
from ia2.models.names import PACKAGED, check_model_name


def folder(path, *files):
    path.mkdir(parents=True)
    for file in files:
        (path / file).write_bytes(b"GGUF")
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
    assert {name: check_model_name(name) for name in kinds} == kinds


@pytest.mark.parametrize("name", ["./model", "../model", "/no/such/model", "~/model", "a/b/c", "a\\b"])
def test_what_looks_like_a_path_is_never_a_hub_id(name):
    with pytest.raises(InputError, match="no such folder or file"):
        check_model_name(name)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ((), "config.json is missing"),
        (("config.json",), "no weights"),
        (("config.json", "pytorch_model.bin"), "only pickled weights, which are never loaded"),
        (("config.json", "model.safetensors"), "no tokenizer"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_with_what_is_missing(tmp_path, files, said):
    with pytest.raises(InputError, match=said):
        check_model_name(str(folder(tmp_path / "m", *files)))


def test_files_that_are_no_gguf_are_refused(tmp_path):
    (tmp_path / "rows.csv").write_text("text,label\n")
    for name, said in (("rows.csv", "no GGUF file"), ("missing.gguf", "no such file")):
        with pytest.raises(InputError, match=said):
            check_model_name(str(tmp_path / name))


@pytest.mark.parametrize("name", ["", "we ird", "a//b", "-x"])
def test_names_that_no_hub_could_know_are_refused(name):
    with pytest.raises(InputError):
        check_model_name(name)


def test_packaged_models_are_named_by_their_name():
    assert all(name == model.name for name, model in PACKAGED.items())
