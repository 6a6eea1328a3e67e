import json
import shutil

import gguf
import pytest
import torch
from command_line import adapt, run
from conftest import tiny_network
from peft import PeftModel
from transformers import AutoModelForCausalLM

IDS = torch.tensor([[5, 6, 7, 300, 20, 11]])


@pytest.fixture
def folder(capsys, tmp_path, model, file):
    """An adapter's folder as `ia2 adapt` leaves it."""
    status, _, err = adapt(capsys, tmp_path, model, file, "--lr", "1e-2", "--method", "sft", "--no-compare")
    assert status == 0, err
    return tmp_path / "out" / "adapter"


def test_merged_weights_give_the_adapters_logits(capsys, tmp_path, folder):
    status, out, err = run(capsys, "export", folder, "--merged", tmp_path / "merged")
    assert status == 0, err
    assert out == f"{tmp_path}/merged/: the base model with the adapter merged in, in the hub's layout\n"
    assert "trained on different weights" not in err
    expected = PeftModel.from_pretrained(tiny_network("llama"), str(folder))(IDS).logits
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert torch.allclose(merged(IDS).logits, expected, atol=1e-4)
    # and it is a model like any other here
    status, _, err = run(
        capsys, "evaluate", "--model", tmp_path / "merged", "--data", tmp_path / "rows.csv", "--limit", "4"
    )
    assert status == 0, err


def test_merged_weights_have_the_dtype_that_was_asked_for(capsys, tmp_path, folder):
    status, _, err = run(capsys, "export", folder, "--merged", tmp_path / "merged", "--dtype", "bfloat16")
    assert status == 0, err
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "merged").dtype == torch.bfloat16


def test_a_gguf_file_holds_the_lora(capsys, tmp_path, folder, model):
    status, out, err = run(capsys, "export", folder, "--gguf", tmp_path / "lora.gguf")
    assert status == 0, err
    assert f"Base model: {model}." in err
    assert out.startswith(f"{tmp_path}/lora.gguf: the adapter, for llama.cpp")
    names = {tensor.name for tensor in gguf.GGUFReader(tmp_path / "lora.gguf").tensors}
    parts = [f"{name}.weight.lora_{factor}" for name in ("attn_q", "attn_k", "attn_output") for factor in "ab"]
    assert names == {f"blk.{layer}.{part}" for layer in range(3) for part in parts}


def test_an_adapter_of_a_hub_model_is_pushed(capsys, folder, hub):
    configuration = json.loads((folder / "adapter_config.json").read_text())
    written = json.dumps(configuration | {"base_model_name_or_path": "org/model"})
    (folder / "adapter_config.json").write_text(written)
    status, out, err = run(capsys, "export", folder, "--push", "me/adapter", "--public")
    assert (status, out, err) == (0, f"{hub.address}/me/adapter\n", "")
    assert hub.repositories["me/adapter"]["README.md"] == (folder / "README.md").read_bytes()
    assert "taught.json" in hub.repositories["me/adapter"]
    status, out, err = run(capsys, "export", folder, "--push", "me/adapter")
    assert (status, out) == (2, "")
    assert "this repository exists" in err


def test_another_base_model_can_be_named(capsys, tmp_path, folder, model):
    shutil.copytree(model, tmp_path / "moved")
    configuration = json.loads((folder / "adapter_config.json").read_text())
    written = json.dumps(configuration | {"base_model_name_or_path": str(tmp_path / "gone")})
    (folder / "adapter_config.json").write_text(written)
    taught = json.loads((folder / "taught.json").read_text())
    (folder / "taught.json").write_text(json.dumps(taught | {"model": str(tmp_path / "gone")}))
    status, _, err = run(capsys, "export", folder, "--merged", tmp_path / "merged")
    assert status == 2
    assert err == f"{folder}: its base model {tmp_path}/gone is not there. Name it with --model.\n"
    status, _, err = run(capsys, "export", folder, "--merged", tmp_path / "merged", "--model", tmp_path / "moved")
    assert status == 0, err
    tiny_network("llama", seed=1).save_pretrained(tmp_path / "moved")
    status, _, err = run(capsys, "export", folder, "--merged", tmp_path / "other", "--model", tmp_path / "moved")
    assert status == 0, err
    assert "trained on different weights" in err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "Say what to export to: one of --merged DIR, --gguf FILE or --push OWNER/NAME"),
        (("--merged", "a", "--gguf", "b"), "Say what to export to"),
        (("--merged", "a", "--public"), "--public: this is for --push"),
        (("--gguf", "a", "--dtype", "float16"), "--dtype float16: this is for --merged"),
        (("--push", "me/a", "--model", "m"), "--model m: this is for --merged and --gguf"),
        (("--push", "me"), "--push me: this must be OWNER/NAME"),
        (("--push", "me/a"), "which nobody else can load"),
        (("--merged", "full"), "full: this folder isn't empty (it holds mine.txt)"),
        (("--gguf", "full/mine.txt"), "--gguf full/mine.txt: this already exists and is not overwritten"),
        (("--merged", "a", "--model", "./nothing"), "./nothing: there is no such file or folder"),
        (("--gguf", "a", "--model", "./nothing"), "./nothing: there is no such file or folder"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_said_in_a_sentence_and_nothing_is_overwritten(
    capsys, tmp_path, folder, monkeypatch, flags, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    before = sorted(tmp_path.iterdir())
    status, out, err = run(capsys, "export", folder, *flags)
    assert (status, out) == (2, "")
    assert said in err
    assert len([line for line in err.splitlines() if not line.startswith("Base model: ")]) == 1
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "full" / "mine.txt").read_text() == "mine"


def test_a_folder_without_an_adapter_is_told(capsys, tmp_path):
    status, _, err = run(capsys, "export", tmp_path, "--gguf", tmp_path / "lora.gguf")
    assert status == 2
    assert "no adapter here: adapter_config.json is missing" in err
