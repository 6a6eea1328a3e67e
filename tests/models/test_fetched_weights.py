import gc
import weakref

import pytest
import torch
from accelerate.hooks import attach_align_device_hook
from accelerate.utils import PrefixedDataset
from conftest import ARCHITECTURES, tiny_network
from trained_reading import loss_of, reader_of

from ia2.models.architectures import architecture_of
from ia2.models.fetched_weights import fetch_again_in_backward
from ia2.models.linear_modules import features
from ia2.models.load import load_model
from ia2.models.memory import saved_bytes
from ia2.models.recomputation import recomputed_feed_forward


class Fetched(dict):
    """Weights of a disk: a tensor of its own each time one is asked for, and which of them are still held."""

    def __init__(self, weights):
        super().__init__(weights)
        self.matrices = []

    def __getitem__(self, name):
        weights = super().__getitem__(name).clone()
        if weights.ndim > 1:
            self.matrices.append((name, weakref.ref(weights.untyped_storage())))
        return weights

    def held(self):
        gc.collect()
        return sorted(name for name, storage in self.matrices if storage() is not None)


def offloaded(architecture):
    network = tiny_network(architecture)
    weights, path = Fetched(network.state_dict()), architecture_of(network).path
    fetching = {"execution_device": torch.device("cpu"), "offload": True}
    layers = network.get_submodule(path)
    attach_align_device_hook(layers, **fetching, weights_map=PrefixedDataset(weights, f"{path}."))
    return network, weights


def gradient_of(reader):
    loss_of(reader).backward()
    return reader.adapters.values.grad


def assert_same_gradient(gradient, expected):
    # beside fetched weights the gradients of module and update are added in another order
    torch.testing.assert_close(gradient, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_step_holds_no_fetched_matrix_and_its_gradients_are_the_same(architecture):
    expected = gradient_of(reader_of(tiny_network(architecture)))
    network, weights = offloaded(architecture)
    loss = loss_of(reader_of(network))
    # as accelerate leaves it: all matrices of three layers but those of the first that no gradient goes through
    assert len(weights.held()) >= 2 * 4
    del loss
    fetch_again_in_backward(network)
    reader = reader_of(network)
    weights.matrices.clear()
    loss = loss_of(reader)
    assert weights.held() == []
    loss.backward()
    assert_same_gradient(reader.adapters.values.grad, expected)
    assert weights.held() == []


def test_what_is_held_is_counted_without_weights_and_blocks_are_computed_again():
    network, weights = offloaded("llama")
    fetch_again_in_backward(network)
    whole = reader_of(tiny_network("llama"))
    reader = reader_of(network)
    more = saved_bytes(lambda: loss_of(reader), network) - saved_bytes(lambda: loss_of(whole), whole.network)
    assert 0 <= more <= 4 * 32 * 2 * 3  # the norms' weights
    with recomputed_feed_forward(network):
        loss = loss_of(reader)
    assert weights.held() == []
    loss.backward()
    assert_same_gradient(reader.adapters.values.grad, gradient_of(whole))


def test_a_model_on_disk_is_loaded_so(folder, monkeypatch):
    monkeypatch.setattr("transformers.integrations.accelerate.get_max_memory", lambda *_arguments: {"cpu": 130_000})
    network = load_model(folder, device="auto").network
    on_disk = [
        module for module in network.modules() if features(module) is not None and module.weight.device.type == "meta"
    ]
    assert on_disk
    packed = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: packed.append(tensor) or tensor, lambda kept: kept):
        for module in on_disk:
            module(torch.ones(1, features(module)[0], requires_grad=True))
    assert packed == []
