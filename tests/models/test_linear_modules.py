import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from ia2.models.linear_modules import features, frozen_weight


def test_inputs_come_before_outputs_in_both_kinds():
    assert features(nn.Linear(3, 5)) == (3, 5)
    assert features(Conv1D(5, 3)) == (3, 5)  # transformers names outputs first
    assert features(nn.Embedding(3, 5)) is None


def test_a_weight_is_all_there_is_to_a_module_only_where_it_is_frozen_plain_and_near():
    inputs = torch.ones(1, 1, 3)
    module, transposed = nn.Linear(3, 5).requires_grad_(False), Conv1D(5, 3).requires_grad_(False)
    assert frozen_weight(module, inputs) is module.weight
    assert torch.equal(frozen_weight(transposed, inputs), transposed.weight.T)
    assert frozen_weight(module, inputs.half()) is None
    assert frozen_weight(module, inputs.to("meta")) is None
    assert frozen_weight(nn.Linear(3, 5), inputs) is None
    assert frozen_weight(nn.modules.linear.NonDynamicallyQuantizableLinear(3, 5).requires_grad_(False), inputs) is None
    module.forward = lambda inputs: inputs
    assert frozen_weight(module, inputs) is None
