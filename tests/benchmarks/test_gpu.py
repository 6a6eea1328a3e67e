import torch
from transformers import Qwen3Config

from benchmarks import gpu
from benchmarks.gpu import compare_banks, random_model
from ia2.training.methods import IA2

TINY = Qwen3Config(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
    head_dim=16, vocab_size=300, tie_word_embeddings=True,
)  # fmt: skip


def test_what_is_compared_on_a_gpu_is_the_same_fifteen_adapters(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "PAIRS", 1)
    found = compare_banks(random_model(TINY, "cpu", torch.float32), IA2, tmp_path)
    assert found["adapters"] == 15
    assert len(found["ratios"]) == 1
    assert 0 < found["distance"] < 1e-4  # of the way that training went, which isn't nothing
