import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.hooks import AlignDevicesHook, add_hook_to_module
from conftest import tiny_network

from ia2.errors import FieldError, InputError
from ia2.models import placement
from ia2.models.placement import Placement, device_of, where_weights_are


def test_a_cpu_gets_float32_and_a_gpu_bfloat16(monkeypatch):
    assert Placement.chosen(None, None) == Placement("cpu", "float32", ("no GPU was found", "float32 on a CPU"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Placement.chosen(None, None) == Placement("cuda", "bfloat16", ("a GPU was found", "bfloat16 on a GPU"))


def test_a_model_is_spread_in_the_dtype_of_the_device_that_computes(monkeypatch):
    spread = Placement.chosen("auto", None)
    assert (spread.is_spread, spread.device_map, spread.dtype) == (True, "auto", "float32")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert Placement.chosen("auto", None).dtype == "bfloat16"
    assert Placement.chosen("cpu", None).device_map == {"": "cpu"}


def test_a_cpu_is_one_by_whatever_number():
    assert Placement.chosen("cpu:0", None).device == "cpu"


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_bfloat16_that_is_emulated_is_given_with_a_warning(monkeypatch, device):
    monkeypatch.setattr(placement, "has_fast_bfloat16", lambda: False)
    assert "emulates" in Placement.chosen(device, "bfloat16").reasons[1]
    assert Placement.chosen(device, None).dtype == "float32"


def test_the_probe_compares_speeds(monkeypatch):
    seconds = iter([0.0, 1.0] * 3 + [0.0, 9.0] * 3)  # three runs of float32 at 1 s, three of bfloat16 at 9 s
    monkeypatch.setattr(placement.time, "perf_counter", lambda: next(seconds))
    assert placement.has_fast_bfloat16.__wrapped__() is False


@pytest.mark.parametrize(
    ("device", "dtype", "sentence"),
    [
        (None, "int3", "dtype int3"),
        ("cuda:99", None, "device cuda:99"),
        ("cuda:x", None, "device cuda:x: this machine has no such device"),
        ("tpux", None, "device tpux: use cpu, cuda, mps or auto"),
        ("meta", None, "device meta: use cpu, cuda, mps or auto"),
        ("mkldnn", None, "device mkldnn: use cpu, cuda, mps or auto"),
    ],
)
def test_dtypes_and_devices_that_are_not_there_are_refused(device, dtype, sentence):
    with pytest.raises(FieldError, match=f"^{sentence}"):
        Placement.chosen(device, dtype)


def test_where_weights_are_counts_the_parts_on_each_device():
    network = tiny_network("llama")
    assert where_weights_are(network) == "cpu"
    network.hf_device_map = {"": "cpu"}
    assert where_weights_are(network) == "cpu"
    network.hf_device_map = {
        "model.embed_tokens": 0,
        "model.layers.0": "cpu",
        "model.layers.1": "cpu",
        "lm_head": "disk",
    }
    assert where_weights_are(network) == "1 part on device:0, 2 parts on cpu, 1 part on disk"


def test_a_model_whose_embeddings_are_in_no_memory_is_refused():
    network = tiny_network("llama").to("meta")
    with pytest.raises(InputError, match=r"^llama: not even its embeddings fit .* load it in 4 bits\.$"):
        where_weights_are(network)


def test_adapters_sites_and_prefixes_follow_layers_that_lie_on_other_devices():
    # a program of its own, since devices that aren't there are registered for a whole process
    program = Path(__file__).parents[1] / "two_devices.py"
    ended = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert len(ended.stdout.splitlines()) == 13


def test_a_module_computes_where_accelerate_has_it_compute():
    module = torch.nn.Linear(2, 2)
    assert device_of(module) == torch.device("cpu")
    add_hook_to_module(module, AlignDevicesHook("meta"))
    assert device_of(module) == "meta"
