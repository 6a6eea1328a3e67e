import copy

import pytest
import torch
from conftest import tiny_network
from hypothesis import given
from hypothesis import strategies as some
from peft import LoraConfig, get_peft_model
from torch import nn
from torch.testing import assert_close

from ia2.models import frozen
from ia2.models.frozen import FrozenLinear, fastest_products, freeze

needs_onednn = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


@pytest.mark.parametrize(
    ("processor", "mkl", "onednn", "expected"),
    [
        ("vendor_id\t: GenuineIntel\n", True, True, "torch"),
        ("vendor_id\t: GenuineIntel\n", False, True, "onednn"),
        ("vendor_id\t: AuthenticAMD\n", True, True, "onednn"),
        ("vendor_id\t: AuthenticAMD\n", True, False, "torch"),
    ],
)
def test_mkl_multiplies_on_intels_processors_and_onednn_on_others(
    processor, mkl, onednn, expected, tmp_path, monkeypatch
):
    described = tmp_path / "cpuinfo"
    described.write_text(processor, encoding="utf-8")
    monkeypatch.setattr(frozen, "Path", lambda _: described)
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: mkl)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: onednn)
    assert fastest_products.__wrapped__() == expected


def test_a_network_is_frozen_as_is_fastest_unless_something_else_is_asked_for(monkeypatch):
    for chosen, kind in (("torch", nn.Linear), ("onednn", FrozenLinear)):
        monkeypatch.setattr(frozen, "fastest_products", lambda chosen=chosen: chosen)
        layer, other = nn.Linear(2, 2), nn.Linear(2, 2)
        freeze(layer)
        freeze(other, "onednn" if chosen == "torch" else "torch")
        assert type(layer) is kind
        assert type(other) is not kind
        assert not layer.weight.requires_grad
        assert not other.weight.requires_grad


@needs_onednn
@given(
    rows=some.lists(some.integers(1, 5), min_size=1, max_size=3),
    inputs=some.integers(1, 70),
    outputs=some.integers(1, 70),
    bias=some.booleans(),
    turned=some.booleans(),
)
def test_products_and_gradients_are_those_of_float64(rows, inputs, outputs, bias, turned):
    torch.manual_seed(0)
    layer = nn.Linear(inputs, outputs, bias=bias)
    exact = copy.deepcopy(layer).double()
    freeze(layer, "onednn")
    values = torch.randn(*reversed(rows), inputs)
    if turned:  # rows that don't lie side by side in memory
        values = torch.randn(inputs, *rows).permute(*range(len(rows), -1, -1))
    given_in = values.clone().requires_grad_(True)
    expected_in = values.double().requires_grad_(True)
    found, expected = layer(given_in), exact(expected_in)
    assert_close(found, expected.float(), atol=1e-5, rtol=1e-5)
    weights = torch.randn_like(expected)
    (found * weights.float()).sum().backward()
    (expected * weights).sum().backward()
    assert_close(given_in.grad, expected_in.grad.float(), atol=1e-5, rtol=1e-5)


@needs_onednn
def test_what_is_trained_or_of_another_number_format_is_left_to_torch():
    layer = nn.Linear(4, 3)
    freeze(layer, "onednn")
    layer.weight.requires_grad_(True)
    layer(torch.ones(2, 4)).sum().backward()
    assert_close(layer.weight.grad, torch.full((3, 4), 2.0))
    layer.requires_grad_(False)
    layer.bias.requires_grad_(True)
    layer(torch.ones(2, 4)).sum().backward()
    assert_close(layer.bias.grad, torch.full((3,), 2.0))
    layer.requires_grad_(False).double()
    assert layer(torch.ones(2, 4, dtype=torch.float64)).dtype == torch.float64
    with pytest.raises(RuntimeError, match="dtype"):
        layer(torch.ones(2, 4))


@needs_onednn
def test_a_change_of_the_weights_is_seen_and_peft_and_copies_work_as_ever():
    network = tiny_network("llama")
    freeze(network, "onednn")
    ids = torch.arange(6)[None]
    before = network(input_ids=ids).logits
    names = list(network.state_dict())
    model = get_peft_model(
        copy.deepcopy(network), LoraConfig(target_modules=["q_proj", "o_proj"], init_lora_weights=False)
    )
    adapted = model(input_ids=ids).logits
    merged = model.merge_and_unload()
    assert_close(merged(input_ids=ids).logits, adapted, atol=1e-4, rtol=1e-4)
    assert (adapted - before).abs().max() > 1e-3
    assert torch.equal(network(input_ids=ids).logits, before)
    assert list(merged.state_dict()) == names


@needs_onednn
def test_weights_of_one_input_lie_side_by_side_except_where_rows_are_looked_up():
    embedding, head, layer = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False), nn.Linear(3, 2)
    head.weight = embedding.weight
    before = layer.weight.detach().clone()
    freeze(nn.ModuleList([embedding, head, layer]), "onednn")
    assert head.weight is embedding.weight
    assert head.weight.stride() == (3, 1)
    assert layer.weight.stride() == (1, 2)
    assert torch.equal(layer.weight, before)
    whole = nn.Linear(3, 2).double()
    freeze(whole, "onednn")
    assert whole.weight.stride() == (3, 1)


def test_layers_of_other_kinds_are_left_alone():
    class Own(nn.Linear):
        pass

    both = nn.Sequential(Own(2, 2), nn.Embedding(3, 2))
    freeze(both, "onednn")
    assert [type(one) for one in both] == [Own, nn.Embedding]
    assert not any(parameter.requires_grad for parameter in both.parameters())
