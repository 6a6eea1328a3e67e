"""A tiny model in the place of the built-in one, for what the documentation says to run."""

import pytest
from conftest import byte_level_tokenizer, tiny_network

from ia2.models import load


@pytest.fixture
def built_in(tmp_path, monkeypatch):
    """The folder of a tiny model that stands for the built-in one."""
    tiny_network("llama").save_pretrained(tmp_path / "tiny")
    settings = tmp_path / "tiny" / "config.json"
    # the demo's reviews are longer than what tiny models read; there are no learned positions
    settings.write_text(
        settings.read_text().replace('"max_position_embeddings": 512', '"max_position_embeddings": 4096')
    )
    byte_level_tokenizer().save_pretrained(tmp_path / "tiny")
    monkeypatch.setattr(load, "fetch", lambda *_arguments: tmp_path / "tiny.gguf")
    monkeypatch.setattr(load, "dequantised", lambda *_arguments: tmp_path / "tiny")
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "tiny"
