"""A tiny model on disk, a small file, and a cache that is each test's own."""

import pytest
from command_line import write_csv
from conftest import byte_level_tokenizer, tiny_network


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("IA2_DATA_DIR", raising=False)


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_network("llama").save_pretrained(folder)
    byte_level_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def file(tmp_path):
    return write_csv(tmp_path / "rows.csv")
