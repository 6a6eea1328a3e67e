import torch
from torch import nn
from torch.testing import assert_close

from ia2.adapters.ia3 import IA3, SCALE, ScaledInputs, ScaledOutputs


def test_outputs_are_scaled_one_by_one():
    module, inputs = nn.Linear(2, 3), torch.randn(2, 4, 2)
    scales = {SCALE: torch.tensor([[[2.0], [0.0], [-1.0]], [[1.0], [1.0], [1.0]]])}
    output = module(inputs)
    changed = ScaledOutputs().update(module, inputs, output, scales)
    assert_close(changed[0], output[0] * torch.tensor([2.0, 0.0, -1.0]))
    assert torch.equal(changed[1], output[1])


def test_inputs_are_scaled_one_by_one_and_a_bias_is_not():
    module, inputs = nn.Linear(2, 3), torch.randn(1, 4, 2)
    scales = {SCALE: torch.tensor([[[2.0, 0.0]]])}
    changed = ScaledInputs().update(module, inputs, module(inputs), scales)
    assert_close(changed, module(inputs * torch.tensor([2.0, 0.0])))


def test_scaled_inputs_are_what_peft_calls_feed_forward(tiny_llama):
    configuration = IA3(scale="input").configuration(tiny_llama)
    assert configuration.feedforward_modules == configuration.target_modules
    assert IA3.effect_of(configuration) == ScaledInputs()
    assert IA3.effect_of(IA3().configuration(tiny_llama)) == ScaledOutputs()
