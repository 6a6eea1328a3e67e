import json
import logging
import traceback

import pytest

from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.export.push import push
from ia2.adapters.lora import LoRA
from ia2.errors import InputError


@pytest.fixture
def folder(tiny_llama, tmp_path):
    """An adapter's folder that holds something of the person's as well."""
    adapter = fresh_adapter(tiny_llama, LoRA(rank=2).configuration(tiny_llama), seed=0)
    adapter.configuration.base_model_name_or_path = "org/model"
    path = tmp_path / "adapter"
    adapter.save(path)
    (path / "README.md").write_text("---\nbase_model: org/model\n---\n# An adapter\n")
    (path / "tokenizer.json").write_text("{}")
    (path / "private-notes.txt").write_text("mine")
    return path


def test_an_adapters_own_files_are_uploaded_and_nothing_else(hub, folder):
    assert push(folder, "me/adapter") == f"{hub.address}/me/adapter"
    uploaded = hub.repositories["me/adapter"]
    assert uploaded.keys() == {
        ".gitattributes", "README.md", "adapter_config.json", "adapter_model.safetensors", "tokenizer.json"
    }  # fmt: skip
    for name in uploaded.keys() - {".gitattributes"}:
        assert uploaded[name] == (folder / name).read_bytes()


@pytest.mark.parametrize("public", [False, True])
def test_a_repository_is_private_unless_it_is_to_be_public(hub, folder, public):
    push(folder, "me/adapter", public=public)
    assert bool(hub.private["me/adapter"]) is not public


def test_a_repository_that_holds_something_is_left_as_it_is(hub, folder):
    hub.repositories["me/adapter"] = {"README.md": b"another one"}
    with pytest.raises(InputError, match=r"push me/adapter: this repository exists \(it holds README.md\)"):
        push(folder, "me/adapter")
    assert hub.repositories["me/adapter"] == {"README.md": b"another one"}


def test_an_upload_that_failed_can_be_repeated(hub, folder):
    hub.refuses = 400
    with pytest.raises(InputError, match="the hub answered with an error \\(400"):
        push(folder, "me/adapter")
    hub.refuses = None
    push(folder, "me/adapter")
    assert "README.md" in hub.repositories["me/adapter"]


@pytest.mark.parametrize("trouble", ["refused", "forbidden", "unreachable"])
def test_the_token_is_in_no_error_and_no_log(hub, folder, monkeypatch, caplog, capsys, trouble):
    caplog.set_level(logging.DEBUG)
    token, said = hub.token, {"refused": "401", "forbidden": "403", "unreachable": "can't be reached"}[trouble]
    if trouble == "refused":
        hub.token = "hf_another"
    elif trouble == "forbidden":
        hub.refuses = 403
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match=said) as caught:
        push(folder, "me/adapter")
    output = capsys.readouterr()
    for text in ("".join(traceback.format_exception(caught.value)), caplog.text, output.out, output.err):
        assert token not in text
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("repository", ["adapter", "me/a/b", "me/ad apter", "/adapter", "me/", "me/a--b"])
def test_a_name_that_can_be_none_is_refused_before_the_hub_is_asked(hub, folder, repository):
    with pytest.raises(InputError, match="this must be OWNER/NAME"):
        push(folder, repository)
    assert hub.asked == []


def test_what_nobody_else_could_load_is_not_pushed(hub, folder, tmp_path):
    configuration = json.loads((folder / "adapter_config.json").read_text())
    for base, said in ((str(tmp_path), str(tmp_path)), (None, "unnamed")):
        written = json.dumps(configuration | {"base_model_name_or_path": base})
        (folder / "adapter_config.json").write_text(written)
        with pytest.raises(InputError, match=f"its base model is {said}, which nobody else can load"):
            push(folder, "me/adapter")
    assert hub.asked == []


def test_without_a_card_or_a_token_nothing_is_asked(hub, folder, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(InputError, match="HF_TOKEN isn't set"):
        push(folder, "me/adapter")
    (folder / "README.md").unlink()
    with pytest.raises(InputError, match="no model card here"):
        push(folder, "me/adapter")
    assert hub.asked == []
