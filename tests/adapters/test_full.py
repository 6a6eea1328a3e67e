import torch
from torch import nn
from torch.testing import assert_close
from transformers.pytorch_utils import Conv1D

from ia2.adapters.full import FullFineTuning, Replaced


def test_weights_of_their_own_stand_for_a_modules():
    inputs = torch.randn(2, 4, 3)
    for module in (nn.Linear(3, 5), Conv1D(5, 3)):
        weight, bias = torch.randn(2, *module.weight.shape), torch.randn(2, 5)
        changed = Replaced().update(module, inputs, module(inputs), {"weight": weight, "bias": bias})
        for group in range(2):
            product = weight[group] if isinstance(module, Conv1D) else weight[group].T
            assert_close(changed[group], inputs[group] @ product + bias[group])


def test_only_the_named_projections_are_replaced(tiny_llama):
    configuration = FullFineTuning(modules=("output",)).configuration(tiny_llama)
    names = Replaced().shapes(tiny_llama, configuration)
    assert len(names) == 3
    assert all(name.endswith("self_attn.o_proj.weight") for name in names)
