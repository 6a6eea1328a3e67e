import math

import pytest
import torch
from conftest import tiny_network
from peft import LoraConfig
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from ia2.adapters.adapter import Adapter, attached, bank_of, fresh_adapter
from ia2.adapters.lora import MAGNITUDE, A, B, Decomposed, LoRA, LowRank
from ia2.errors import InputError


@pytest.fixture
def factors():
    generator = torch.Generator().manual_seed(0)
    return {
        A: torch.randn(2, 3, 6, generator=generator),
        B: torch.randn(2, 5, 3, generator=generator),
        MAGNITUDE: torch.rand(2, 5, generator=generator) + 0.5,
    }


def test_the_update_is_the_scaled_product_of_the_factors_in_float64(factors):
    module, inputs = nn.Linear(6, 5), torch.randn(2, 4, 6)
    output = module(inputs)
    update = 1.5 * (factors[B].double() @ factors[A].double())
    expected = inputs.double() @ update.mT
    assert_close(LowRank(1.5).delta(module, inputs, factors).double(), expected, atol=1e-5, rtol=1e-5)
    added = LowRank(1.5).added(module, inputs, output, factors)
    assert_close(added.double(), output.double() + expected, atol=1e-5, rtol=1e-5)


def test_dora_gives_each_output_its_own_magnitude_in_float64(factors):
    module, inputs = nn.Linear(6, 5), torch.randn(2, 4, 6)
    whole = module.weight.double() + 0.5 * (factors[B].double() @ factors[A].double())
    weight = factors[MAGNITUDE].double()[..., None] * whole / whole.norm(dim=-1, keepdim=True)
    expected = inputs.double() @ weight.mT + module.bias.double()
    ours = Decomposed(0.5).update(module, inputs, module(inputs), factors)
    assert_close(ours.double(), expected, atol=1e-5, rtol=1e-5)


def test_scaling_is_alpha_over_rank_or_its_root(tiny_llama):
    configuration = LoRA(rank=4, alpha=6).configuration(tiny_llama)
    assert isinstance(configuration, LoraConfig)
    assert LoRA.effect_of(configuration) == LowRank(6 / 4)
    assert LoRA.effect_of(LoRA(rank=4, alpha=6, rslora=True).configuration(tiny_llama)) == LowRank(6 / math.sqrt(4))


@pytest.mark.parametrize("sizes", [{"alpha": 0}, {"dropout": 1.0}, {"modules": ()}, {"dropout": 0.1, "dora": True}])
def test_sizes_that_make_no_sense_are_refused_by_their_field(sizes):
    with pytest.raises(InputError, match=next(iter(sizes))):
        LoRA(**sizes)


class LargestResult(TorchDispatchMode):
    """Notes the most numbers that any operation has given."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        result = operation(*arguments, **(keywords or {}))
        if isinstance(result, torch.Tensor) and result.untyped_storage().nbytes() > result.element_size():
            self.numbers = max(self.numbers, result.untyped_storage().nbytes() // result.element_size())
        return result


@pytest.mark.parametrize("scale", [1e-4, 1.0, 30.0])
def test_doras_norms_need_no_whole_weight_of_each_adapter(scale):
    generator = torch.Generator().manual_seed(1)
    adapters, outputs, rank, inputs = 6, 20, 2, 30
    module = nn.Linear(inputs, outputs, bias=False)
    values = {
        A: torch.randn(adapters, rank, inputs, generator=generator),
        B: scale * torch.randn(adapters, outputs, rank, generator=generator),
        MAGNITUDE: torch.rand(adapters, outputs, generator=generator) + 0.5,
    }
    rows = torch.randn(adapters, 2, inputs, generator=generator)
    with LargestResult() as largest, torch.no_grad():
        updated = Decomposed(2.0).update(module, rows, module(rows), values)
    assert largest.numbers <= outputs * inputs
    whole = module.weight.double() + 2.0 * values[B].double() @ values[A].double()
    direction = whole / whole.norm(dim=2, keepdim=True)
    expected = rows.double() @ (values[MAGNITUDE].double()[:, :, None] * direction).mT
    assert_close(updated.double(), expected, atol=2e-5, rtol=2e-5)


class EightBitLinear(nn.Linear):
    """A linear module of an FP8 checkpoint on a GPU: weights of eight bits, products in the inputs' precision."""

    def forward(self, inputs):
        return nn.functional.linear(inputs, self.weight.to(inputs.dtype))


def with_eight_bit_weights(network):
    """The same network with every linear module of its layers in float8."""
    for path, module in list(network.model.layers.named_modules()):
        if isinstance(module, nn.Linear):
            eight_bit = EightBitLinear(module.in_features, module.out_features, bias=False)
            eight_bit.weight = nn.Parameter(module.weight.to(torch.float8_e4m3fn), requires_grad=False)
            network.model.layers.set_submodule(path, eight_bit)
    return network


def test_beside_weights_of_eight_bits_values_begin_and_stay_in_float32():
    plain, network = tiny_network("llama"), with_eight_bit_weights(tiny_network("llama"))
    assert network.model.layers[0].self_attn.q_proj.weight.dtype == torch.float8_e4m3fn
    configuration = LoRA(rank=2).configuration(network)
    fresh, expected = (fresh_adapter(each, configuration, seed=0) for each in (network, plain))
    assert fresh.weights.keys() == expected.weights.keys()
    # those of a network in float32, to the last bit
    for name, tensor in fresh.weights.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, expected.weights[name])
    bank = bank_of(network, [fresh])
    bank.values.requires_grad_(True)
    batch = torch.tensor([[5, 6, 7, 8]])
    with bank.attached([0]):
        network(batch).logits.logsumexp(-1).sum().backward()
    with torch.no_grad():
        bank.values -= 1e-4 * bank.values.grad
    trained = bank.weights(0)
    assert all(tensor.dtype == torch.float32 for tensor in trained.values())
    # a step this small would be lost in eight bits
    changed = [name for name, tensor in trained.items() if not torch.equal(tensor, fresh.weights[name])]
    assert changed == [name for name in trained if name.endswith(B)]
    # and PEFT reads the same values
    with bank.attached([0]), torch.no_grad():
        ours = network(batch).logits
    with attached(network, Adapter(configuration, trained)), torch.no_grad():
        assert_close(network(batch).logits, ours, atol=1e-5, rtol=1e-5)


def test_beside_weights_of_sixteen_bits_values_begin_as_peft_begins_them():
    network = tiny_network("llama").to(torch.bfloat16)
    adapter = fresh_adapter(network, LoRA(rank=2).configuration(network), seed=0)
    downs = [tensor for name, tensor in adapter.weights.items() if name.endswith(A)]
    assert all(tensor.dtype == torch.float32 for tensor in downs)
    assert all(torch.equal(tensor, tensor.to(torch.bfloat16).to(torch.float32)) for tensor in downs)
