import shutil

import pytest
import torch
from conftest import byte_level_tokenizer, tiny_network
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, T5Config, ViTConfig

from ia2.errors import FieldError, InputError
from ia2.models import load, placement
from ia2.models.gqa_attention import NAME
from ia2.models.hub import Snapshot
from ia2.models.load import load_configuration, load_model, tokenizer_at_hand
from ia2.models.packaged import PACKAGED
from ia2.progress import Silent


@pytest.fixture(autouse=True)
def no_hub(monkeypatch):
    monkeypatch.setattr(load, "fetch_snapshot", lambda _name: pytest.fail("the hub was asked"))
    monkeypatch.setattr(load, "cached_snapshot", lambda _name: pytest.fail("the hub's cache was asked"))


def test_a_folder_is_loaded_frozen_and_ready(folder):
    model = load_model(folder)
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(model.network(ids).logits, tiny_network("llama")(ids).logits)
    assert model.tokenizer("Label:")["input_ids"] == byte_level_tokenizer()("Label:")["input_ids"]
    assert model.context_length == 512
    assert (model.network.config._attn_implementation == NAME) == (model.network.device.type == "cpu")
    assert (model.identity.id, model.identity.revision) == ("tiny", None)


def test_another_weight_makes_another_identity(folder):
    before = load_model(folder).identity.sha256
    assert load_model(folder).identity.sha256 == before
    tiny_network("llama", seed=1).save_pretrained(folder)
    assert load_model(folder).identity.sha256 != before


def test_a_cpu_gets_float32_and_it_is_said(folder):
    (note,) = load_model(folder).notes
    assert note == "Model tiny: float32 on cpu (no GPU was found; float32 on a CPU)."


def test_a_cpu_is_one_by_whatever_number(folder, monkeypatch):
    (note,) = load_model(folder, device="cpu:0").notes
    assert note == "Model tiny: float32 on cpu (as asked; float32 on a CPU)."
    monkeypatch.setattr(placement, "has_fast_bfloat16", lambda: False)
    assert "emulates" in load_model(folder, device="cpu:0", dtype="bfloat16").notes[0]


def test_bfloat16_that_is_emulated_is_given_only_when_asked_and_with_a_warning(folder, monkeypatch):
    monkeypatch.setattr(placement, "has_fast_bfloat16", lambda: False)
    assert load_model(folder).identity.dtype == "float32"
    model = load_model(folder, dtype="bfloat16")
    assert model.network.dtype == torch.bfloat16
    assert "emulates" in model.notes[0]


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"dtype": "int3"}, "dtype int3"),
        ({"device": "tpux"}, "device tpux"),
        ({"load": "3bit"}, "load 3bit: use 4bit or 8bit"),
        ({"attention": "nonesuch"}, "attention nonesuch: .* can't attend like this here"),
        ({"attention": "flash_attention_2"}, "attention flash_attention_2: .* can't attend like this here"),
    ],
)
def test_what_is_not_there_is_refused(folder, keywords, sentence):
    with pytest.raises(FieldError, match=f"^{sentence}"):
        load_model(folder, **keywords)


def test_the_way_to_attend_is_chosen_as_transformers_does_or_as_asked_and_recorded(folder):
    ids = torch.tensor([[5, 6, 7]])
    usual = load_model(folder, device="cpu")
    assert usual.identity.as_record()["attention"] == NAME
    for attention in ("eager", "sdpa"):
        model = load_model(folder, device="cpu", attention=attention)
        assert model.identity.attention == model.network.config._attn_implementation == attention
        torch.testing.assert_close(model.network(ids).logits, usual.network(ids).logits)
        # nothing was chosen for anyone
        assert not any("attention is eager" in note for note in model.notes)


def test_soft_caps_get_eager_attention_which_is_said_once(tmp_path):
    # as if by transformers alone, which is told no way to attend
    network = tiny_network("gemma2")
    network.config._attn_implementation = None
    network.save_pretrained(tmp_path / "capped")
    byte_level_tokenizer().save_pretrained(tmp_path / "capped")
    model = load_model(tmp_path / "capped", device="cpu")
    assert model.network.config.attn_logit_softcapping is not None
    assert model.identity.attention == "eager"
    assert [note for note in model.notes if "eager" in note] == [
        "Model capped: attention is eager, as this architecture allows nothing faster."
    ]
    with pytest.raises(FieldError, match="^attention sdpa: "):
        load_model(tmp_path / "capped", device="cpu", attention="sdpa")


def test_what_cannot_be_read_is_said_in_a_sentence(folder):
    spoiled = {
        "config.json": ('{"model_type": "nonesuch"}', "config.json can't be read"),
        "model.safetensors": ("cut", "weights can't be loaded"),
        "tokenizer.json": ("{}", "tokenizer can't be loaded"),
    }
    for file, (content, said) in spoiled.items():
        copy = folder.parent / f"without-{file}"
        shutil.copytree(folder, copy)
        (copy / file).write_text(content)
        with pytest.raises(InputError, match=said):
            load_model(copy)


def test_a_model_that_is_no_decoder_is_refused(folder):
    ViTConfig().save_pretrained(folder)
    with pytest.raises(InputError, match="vit is not a decoder-only language model"):
        load_model(folder)
    T5Config().save_pretrained(folder)
    with pytest.raises(InputError, match="encoder-decoder"):
        load_model(folder)


def test_weights_that_are_missing_are_never_made_up(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.self_attn.q_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="1 of its weights are missing, model.layers.1.self_attn.q_proj.weight"):
        load_model(folder)


def test_a_hub_model_has_its_commit_in_its_identity(folder, monkeypatch):
    monkeypatch.setattr(load, "fetch_snapshot", lambda _name: Snapshot(folder, "c0ffee"))
    model = load_model("org/model")
    assert (model.identity.id, model.identity.revision, model.identity.sha256) == ("org/model", "c0ffee", None)


def test_a_network_is_named_so_that_other_programs_find_it_wherever_they_run(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_model("./tiny").network.name_or_path == str(folder)
    monkeypatch.setattr(load, "fetch_snapshot", lambda _name: Snapshot(folder, "c0ffee"))
    assert load_model("org/model").network.name_or_path == "org/model"
    monkeypatch.setattr(load, "fetch", lambda *_a: tmp_path / "model.gguf")
    monkeypatch.setattr(load, "dequantised", lambda *_a: folder)
    assert load_model("smollm2-135m").network.name_or_path == "HuggingFaceTB/SmolLM2-135M-Instruct"
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    # transformers can't load a GGUF file by its name alone, but what was made of it
    assert load_model("model.gguf").network.name_or_path == str(folder)


def test_a_configuration_is_loaded_without_weights(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(load, "fetch", lambda *_a: tmp_path / "model.gguf")
    monkeypatch.setattr(load, "dequantised", lambda *_a: folder)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", lambda *_a, **_k: pytest.fail("weights were read"))
    for name in (str(folder), "smollm2-135m"):
        assert load_configuration(name).num_attention_heads == 4
    (folder / "config.json").write_text("{}")
    with pytest.raises(InputError, match="config.json can't be read"):
        load_configuration(str(folder))


def test_what_was_chosen_in_place_of_the_hub_is_said_and_noted(folder, monkeypatch):
    monkeypatch.setattr(load, "fetch_snapshot", lambda _name: Snapshot(folder, "c0ffee", ("It is an old one.",)))
    said = []
    monkeypatch.setattr(Silent, "say", lambda _self, sentence: said.append(sentence))
    model = load_model("org/model", device="cpu")
    assert ["Loading org/model …", *model.notes] == said
    assert said == [
        "Loading org/model …",
        "It is an old one.",
        "Model org/model: float32 on cpu (as asked; float32 on a CPU).",
    ]


def test_a_gguf_that_is_cut_short_is_said(tmp_path):
    (tmp_path / "m.gguf").write_bytes(b"GGUF\x03\x00\x00\x00")
    with pytest.raises(InputError, match="this GGUF file is damaged or cut short"):
        load_model(tmp_path / "m.gguf", cache_dir=tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_tokenizer_is_at_hand_without_weights(folder):
    for path in folder.glob("*.safetensors"):
        path.unlink()
    assert tokenizer_at_hand(str(folder))("Label:")["input_ids"] == byte_level_tokenizer()("Label:")["input_ids"]
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="its tokenizer can't be loaded"):
        tokenizer_at_hand(str(folder))


def test_a_tokenizer_of_the_hub_is_at_hand_where_the_hubs_cache_has_it(folder, monkeypatch):
    kept = {"some/model": folder}
    monkeypatch.setattr(load, "cached_snapshot", kept.get)
    assert tokenizer_at_hand("some/model") is not None
    assert tokenizer_at_hand("other/model") is None
    (folder / "tokenizer.json").unlink()
    assert tokenizer_at_hand("some/model") is None


def test_a_packaged_models_tokenizer_is_at_hand_once_it_was_converted(tmp_path):
    assert tokenizer_at_hand("smollm2-135m", cache_dir=tmp_path) is None
    packaged = PACKAGED["smollm2-135m"]
    stem = packaged.file_name.removesuffix(".gguf")
    byte_level_tokenizer().save_pretrained(tmp_path / "models" / f"{stem}-{packaged.sha256[:16]}")
    assert tokenizer_at_hand("smollm2-135m", cache_dir=tmp_path) is not None
    assert list(tmp_path.glob("models/*.gguf")) == []


def test_a_file_is_called_by_its_folder_too(tmp_path):
    assert load._shown(tmp_path / "gemma" / "model.gguf") == "gemma/model.gguf"
    assert load._shown(tmp_path) == tmp_path.name
