import pytest
import torch
from rich.console import Console
from transformers import Qwen3Config

from benchmarks import gpu
from benchmarks.gpu import WANTED, Device, GpuBenchmark, random_model, table
from ia2.training.methods import IA2

TINY = Qwen3Config(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
    head_dim=16, vocab_size=300, tie_word_embeddings=True,
)  # fmt: skip


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "PAIRS", 1)
    return GpuBenchmark(random_model(TINY, "cpu", torch.float32), tmp_path, Device(flops=1e9, bytes=1e9))


def test_everything_that_is_wanted_is_measured_and_printed(benchmark, monkeypatch):
    assert (gpu.ROWS, gpu.TOKENS) == (200, 64)
    monkeypatch.setattr(gpu, "ROWS", 8)
    monkeypatch.setattr(gpu, "TOKENS", 6)
    measured = benchmark.all()
    as_named = [row.name.replace("8 rows", "200 rows").replace("6 tokens", "64 tokens") for row in measured]
    assert sorted(as_named) == sorted(WANTED)
    assert all(row.floor > 0 and row.seconds > 0 for row in measured)
    # fifteen adapters multiply as often as fifteen times one, and 16 prompts 16 times as often as one
    of = {row.name: row for row in measured}
    assert of["15 adapters, sft"].floor > 5 * of["one adapter, sft"].floor
    assert of["one adapter, sft"].wanted == 0.5
    console = Console(record=True, width=120)
    console.print(table(measured, "a card"))
    assert "6 tokens, 16 prompts" in console.export_text()


def test_reading_weights_is_the_floor_of_a_token(benchmark):
    weights = sum(parameter.nbytes for parameter in benchmark.model.network.parameters())
    row = benchmark.measure("64 tokens, 1 prompt", lambda: benchmark.decode(1))
    slow = GpuBenchmark(benchmark.model, benchmark.folder, Device(flops=1e18, bytes=1e6))
    assert slow.measure("tokens", lambda: slow.decode(1)).floor == pytest.approx(64 * weights / 1e6)
    assert row.wanted == 0.6


def test_a_bank_on_a_gpu_holds_the_same_fifteen_adapters(benchmark):
    assert len(benchmark.plans(IA2)) == 15
    assert 0 < benchmark.apart(IA2) < 1e-4  # of the way that training went, which isn't nothing


def test_two_steps_are_profiled(benchmark):
    profiled = benchmark.profiled()
    # a CPU launches nothing
    assert profiled == {"busy_share": 0.0, "launches_a_step": 0.0, "waits_a_step": 0.0}


def test_what_a_device_can_do_is_measured_on_it():
    device = Device.measured(torch.device("cpu"), torch.float32)
    assert device.flops > 1e8
    assert device.bytes > 1e7
