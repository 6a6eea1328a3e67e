from types import SimpleNamespace

import psutil
import pytest
import torch

from benchmarks.shrunken import shrunken_network
from ia2.models import memory
from ia2.models.memory import free_bytes, responses_that_fit, saved_bytes, steady_bytes


def test_what_is_kept_is_counted_once_and_weights_are_not(tiny_llama):
    value = torch.ones(100, requires_grad=True)

    def work():
        # exp keeps its result, sin its argument, which is that result; the product keeps both factors
        raised = value.exp()
        return (raised * raised.sin()).sum() + tiny_llama.lm_head(torch.ones(1, 32, requires_grad=True)).sum()

    # raised, its sine, and the product; the head keeps its weight alone, since that alone has no gradient
    assert saved_bytes(work, tiny_llama) == 2 * 400


def test_free_memory_is_some_of_what_there_is():
    assert 0 < free_bytes(torch.device("cpu")) <= psutil.virtual_memory().total


def test_on_a_gpu_what_torch_holds_and_does_not_use_is_free_as_well(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (1000, 8000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _device: 500)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _device: 200)
    assert free_bytes(torch.device("cuda")) == 1000 + 500 - 200


V2 = {"memory.max": "1000000", "memory.current": "600000", "memory.stat": "anon 300000\ninactive_file 100000\n"}
V1 = {
    "memory/memory.limit_in_bytes": "1000000",
    "memory/memory.usage_in_bytes": "600000",
    "memory/memory.stat": "inactive_file 1\ntotal_inactive_file 100000\n",
}


@pytest.mark.parametrize("files", [V2, V1], ids=["v2", "v1"])
def test_in_a_container_no_more_is_free_than_its_limit_leaves(tmp_path, monkeypatch, tiny_llama, files):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    # files that were read are let go when room is needed
    assert free_bytes(torch.device("cpu")) == 1000000 - (600000 - 100000)
    weights = sum(parameter.numel() * 4 for parameter in tiny_llama.parameters())
    assert steady_bytes(tiny_llama) == 0.4 * 1000000 - weights


@pytest.mark.parametrize(
    "files",
    [{}, V2 | {"memory.max": "max\n"}, V1 | {"memory/memory.limit_in_bytes": "9223372036854771712"}],
    ids=["no container", "v2", "v1"],
)
def test_without_a_limit_the_whole_machine_counts(tmp_path, monkeypatch, tiny_llama, files):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=3000, total=50000))
    assert free_bytes(torch.device("cpu")) == 3000
    weights = sum(parameter.numel() * 4 for parameter in tiny_llama.parameters())
    assert steady_bytes(tiny_llama) == 0.4 * 50000 - weights


def test_a_repeatable_budget_is_what_is_left_of_a_share_of_all_memory(tiny_llama, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    weights = sum(parameter.numel() * 4 for parameter in tiny_llama.parameters())
    assert steady_bytes(tiny_llama) == 0.4 * psutil.virtual_memory().total - weights


def test_as_many_responses_are_written_at_once_as_half_of_the_memory_holds(tiny_llama, monkeypatch):
    config = tiny_llama.config
    # a token's keys and values, and what is recorded of it, in three layers: 2 x 2 heads of 8 and a hidden state of 32
    plain, recorded = 3 * 2 * 2 * 8 * 4, 3 * (2 * 2 * 8 + 32) * 4
    assert (config.num_key_value_heads, config.hidden_size // config.num_attention_heads) == (2, 8)
    monkeypatch.setattr(memory, "steady_bytes", lambda _network: 2 * 10 * 100 * plain)
    assert memory.responses_that_fit(tiny_llama, 100) == 10
    assert memory.responses_that_fit(tiny_llama, 100, sites=1) == 10 * plain // recorded
    assert memory.responses_that_fit(tiny_llama, 10) == memory.CPU_RESPONSES
    assert memory.responses_that_fit(tiny_llama, 10_000) == 1


# two narrow layers with 2 heads of 8 numbers and two wide ones with 2 of 512; four of 32 numbers
@pytest.mark.parametrize(("kind", "numbers"), [("gemma4_text", 2 * 2 * (16 + 1024)), ("mamba", 2 * 4 * 32)])
def test_each_layer_s_keys_are_counted_and_a_state_as_one_head(monkeypatch, kind, numbers):
    # room for ten tokens of four bytes a number, in half of what there is
    monkeypatch.setattr(memory, "steady_bytes", lambda _network: 2 * 4 * 10 * numbers)
    assert responses_that_fit(shrunken_network(kind), tokens=1) == 10


def test_without_proc_the_kernel_itself_says_how_much_memory_there_is(monkeypatch, tiny_llama):
    total, left = psutil.virtual_memory().total, free_bytes(torch.device("cpu"))

    def unmounted():
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", unmounted)
    monkeypatch.setattr(memory, "CGROUP", memory.CGROUP / "none")
    assert memory._machine()[0] == pytest.approx(total, rel=0.01)
    assert 0 < free_bytes(torch.device("cpu")) <= total
    assert left > 0
    assert steady_bytes(tiny_llama) == pytest.approx(0.4 * total, rel=0.02)
