import pytest
import torch

from ia2.models.transfer import on_device


def test_numbers_arrive_in_their_shape_and_type():
    sent = on_device([[1, 2], [3, 4], [5, 6]], "cpu")
    assert (sent.tolist(), sent.dtype) == ([[1, 2], [3, 4], [5, 6]], torch.long)
    assert on_device([0.5, 1.5], torch.device("cpu"), torch.float32).tolist() == [0.5, 1.5]
    assert on_device([True, False], "meta", torch.bool).shape == (2,)


def test_to_a_gpu_they_go_from_pinned_memory_without_waiting(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: asked.append("pinned") or tensor)
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *device, **how: asked.append((*device, how)) or tensor)
    on_device([1, 2], "cuda:0")
    assert asked == ["pinned", ("cuda:0", {"non_blocking": True})]


def test_numbers_that_make_no_tensor_are_an_error():
    with pytest.raises(ValueError, match="expected sequence of length 2"):
        on_device([[1, 2], [3]], "cpu")
