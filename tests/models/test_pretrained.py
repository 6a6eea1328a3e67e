"""Networks of a folder: on one device, and spread over several. Refusals of damaged files are in `test_load`."""

import gc
from pathlib import Path

import pytest
import torch
from conftest import byte_level_tokenizer
from peft import PeftModel

from ia2.adapters.adapter import adapted, fresh_adapter
from ia2.adapters.full import FullFineTuning
from ia2.adapters.lora import LoRA
from ia2.errors import InputError
from ia2.evaluation.evaluate import evaluate
from ia2.models import pretrained
from ia2.models.load import load_model
from ia2.models.placement import Placement
from ia2.models.pretrained import read_network, read_tokenizer, tokenizer_digest
from ia2.prompting.fewshot import FewShotSet
from ia2.training.early_stopping import Training
from ia2.training.methods import METHODS
from ia2.training.teacher import collect_targets
from ia2.training.train import train


@pytest.fixture
def little_memory(monkeypatch):
    """A machine without room for the last layers, behind 51 kB of embeddings: 31 kB each."""
    monkeypatch.setattr("transformers.integrations.accelerate.get_max_memory", lambda *_arguments: {"cpu": 130_000})


def test_a_folders_network_and_tokenizer_are_read(folder):
    network = read_network(folder, Placement.chosen("cpu", "bfloat16"), "tiny")
    assert (network.dtype, network.device.type) == (torch.bfloat16, "cpu")
    assert read_tokenizer(folder, "tiny")("Label:")["input_ids"] == byte_level_tokenizer()("Label:")["input_ids"]


@pytest.mark.usefixtures("little_memory")
def test_a_model_is_spread_over_memory_and_disk_and_reads_as_whole(folder):
    model = load_model(folder, device="auto")
    places = set(model.network.hf_device_map.values())
    assert places == {"cpu", "disk"}
    assert "on disk (as asked; float32 on a CPU)" in model.notes[0]
    assert model.identity.device in model.notes[0]
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(model.network(ids).logits, load_model(folder, device="cpu").network(ids).logits)


@pytest.mark.usefixtures("little_memory")
def test_an_adapter_of_a_model_on_disk_is_that_of_the_whole_model(folder, tmp_path, toy_task):
    few, trained = FewShotSet.draw(toy_task, 4), {}
    for device in ("cpu", "auto"):
        model = load_model(folder, device=device)
        targets = collect_targets(model, few, cache_dir=tmp_path / device)
        trained[device] = train(
            model, few, METHODS["ia2-sft"], learning_rate=1e-2, targets=targets, training=Training(epochs=3)
        ).adapter
    for name, tensor in trained["cpu"].weights.items():
        torch.testing.assert_close(trained["auto"].weights[name], tensor, msg=name)
    assert evaluate(model, toy_task.evaluation[:4], toy_task, adapter=trained["auto"]).metrics()["n"] == 4
    ids = torch.tensor([[5, 6, 7, 8]])
    with adapted(model, [trained["auto"]]) as reader, reader.adapters.attached([0]), torch.no_grad():
        spread = model.network(ids).logits
    trained["auto"].save(tmp_path / "adapter")
    whole = load_model(folder, device="cpu").network
    with torch.no_grad():
        reloaded = PeftModel.from_pretrained(whole, str(tmp_path / "adapter")).eval()(ids).logits
    torch.testing.assert_close(spread, reloaded, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("little_memory")
def test_kinds_that_compute_with_weights_are_refused_where_these_lie_on_disk(folder):
    network = load_model(folder, device="auto").network
    with pytest.raises(InputError, match="some of these aren't in a device's memory. Use lora without dora"):
        fresh_adapter(network, FullFineTuning().configuration(network), seed=0)
    assert fresh_adapter(network, LoRA(rank=2).configuration(network), seed=0).weights


@pytest.mark.usefixtures("little_memory")
def test_what_is_written_to_disk_goes_with_the_network_and_after_an_error(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained.tempfile, "tempdir", str(tmp_path))
    network = read_network(folder, Placement.chosen("auto", None), "tiny")
    (written,) = tmp_path.glob("ia2-*")
    del network
    gc.collect()
    assert not written.exists()
    (folder / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(InputError, match="weights can't be loaded"):
        read_network(folder, Placement.chosen("auto", None), "tiny")
    assert list(Path(tmp_path).glob("ia2-*")) == []


def test_a_tokenizers_digest_is_of_its_rules_and_not_of_what_it_was_asked_last(folder):
    tokenizer = byte_level_tokenizer()
    digest = tokenizer_digest(tokenizer)
    tokenizer.pad_token = tokenizer.eos_token
    padded = tokenizer_digest(tokenizer)
    tokenizer(["a", "a long text"], padding=True, truncation=True, max_length=3)
    assert tokenizer_digest(tokenizer) == padded
    tokenizer.chat_template = "{{ messages[0].content }}"
    of_template = tokenizer_digest(tokenizer)
    tokenizer.add_tokens(["<new>"])
    assert len({padded, of_template, tokenizer_digest(tokenizer)}) == 3
    assert tokenizer_digest(read_tokenizer(folder, "tiny")) == digest
