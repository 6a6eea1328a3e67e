from collections import Counter

import pytest
import torch
from torch import nn
from torch.testing import assert_close
from transformers.pytorch_utils import Conv1D

from benchmarks.dispatched import dispatched
from ia2.adapters.low_rank_products import JointReduction
from ia2.models.linear_modules import frozen_weight

RANK, OUTPUTS = 2, (5, 3, 4)


class Doubled(nn.Linear):
    def forward(self, inputs):
        return 2 * super().forward(inputs)


def replaced(module):
    module.forward = lambda inputs: 2 * nn.Linear.forward(module, inputs)
    return module


PLAIN = {
    "linear": lambda outputs: nn.Linear(4, outputs),
    "inputs first": lambda outputs: Conv1D(outputs, 4),
}
OTHERS = {
    "of its own class": lambda outputs: Doubled(4, outputs),
    "with another forward": lambda outputs: replaced(nn.Linear(4, outputs)),
    "trained": lambda outputs: nn.Linear(4, outputs),
}


def random(*shape, dtype=torch.float64):
    return torch.randn(shape, dtype=dtype, requires_grad=True)


def modules_of(kind, members):
    modules = [(PLAIN | OTHERS)[kind](outputs).double() for outputs in OUTPUTS[:members]]
    return [module.requires_grad_(kind == "trained") for module in modules]


def jointly(modules, inputs, a, factors, scaling):
    reduction = JointReduction(a, len(modules), scaling)
    reduction.read(inputs, inputs)
    pairs = enumerate(zip(modules, factors, strict=True))
    return [reduction.added(member, module, module(inputs), b) for member, (module, b) in pairs]


def apart(modules, inputs, a, factors, scaling):
    parts = zip(modules, a.split(RANK, dim=1), factors, strict=True)
    return [module(inputs) + scaling * (inputs @ part.mT @ b.mT) for module, part, b in parts]


def gradients(outputs, of, used):
    generator = torch.Generator().manual_seed(1)
    loss = sum(
        (outputs[member] * torch.randn(outputs[member].shape, dtype=torch.float64, generator=generator)).sum()
        for member in used
    )
    return torch.autograd.grad(loss, of, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("scaling", [1.0, 0.75])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("kind", [*PLAIN, *OTHERS])
@pytest.mark.parametrize("first_layer", [False, True])
def test_joint_products_and_their_gradients_are_those_of_autograd(kind, members, scaling, first_layer):
    modules = modules_of(kind, members)
    inputs, a = random(2, 3, 4).requires_grad_(not first_layer), random(2, members * RANK, 4)
    factors = [random(2, outputs, RANK) for outputs in OUTPUTS[:members]]
    ours, theirs = (each(modules, inputs, a, factors, scaling) for each in (jointly, apart))
    assert_close(ours, theirs)
    weights = [module.weight for module in modules] if kind == "trained" else []
    of = [a, *factors, *weights, *([] if first_layer else [inputs])]
    assert_close(gradients(ours, of, range(members)), gradients(theirs, of, range(members)))
    assert all((frozen_weight(module, inputs) is not None) == (kind in PLAIN) for module in modules)


@pytest.mark.parametrize("used", [[0], [1], [0, 2]])
def test_a_module_whose_output_is_not_used_adds_nothing(used):
    modules, inputs, a = modules_of("linear", 3), random(2, 3, 4), random(2, 3 * RANK, 4)
    factors = [random(2, outputs, RANK) for outputs in OUTPUTS]
    ours, theirs = (each(modules, inputs, a, factors, 1.0) for each in (jointly, apart))
    of = [a, *factors, inputs]
    assert_close(gradients(ours, of, used), gradients(theirs, of, used))


def test_a_module_that_reads_other_inputs_is_multiplied_with_them():
    modules, a = modules_of("linear", 2), random(2, 2 * RANK, 4)
    factors = [random(2, outputs, RANK) for outputs in OUTPUTS[:2]]
    reduction, ours, theirs = JointReduction(a, 2, 1.0), [], []
    inputs = [random(2, 3, 4), random(2, 3, 4)]
    for member, (module, b, read) in enumerate(zip(modules, factors, inputs, strict=True)):
        assert not reduction.has_read(read)
        reduction.read(read, read)
        assert reduction.has_read(read)
        ours.append(reduction.added(member, module, module(read), b))
        theirs.append(apart(modules, read, a, factors, 1.0)[member])
    assert_close(ours, theirs)
    of = [a, *factors, *inputs]
    assert_close(gradients(ours, of, range(2)), gradients(theirs, of, range(2)))


def test_inputs_are_read_anew_once_every_module_has_used_them():
    modules, inputs = modules_of("linear", 2), random(2, 3, 4)
    reduction = JointReduction(random(2, 2 * RANK, 4), 2, 1.0)
    reduction.read(inputs, inputs)
    for member, module in enumerate(modules):
        assert reduction.has_read(inputs)
        reduction.added(member, module, module(inputs), random(2, OUTPUTS[member], RANK))
    assert not reduction.has_read(inputs)


def test_outputs_of_another_dtype_keep_it():
    module, inputs = nn.Linear(4, 5).half().requires_grad_(False), random(2, 3, 4, dtype=torch.float32)
    a, b = random(2, RANK, 4, dtype=torch.float32), random(2, 5, RANK, dtype=torch.float32)
    output = module(inputs.half()).detach()
    reduction = JointReduction(a, 1, 0.5)
    reduction.read(inputs, inputs)
    added = reduction.added(0, module, output, b)
    expected = output + (0.5 * inputs @ a.mT @ b.mT).half()
    assert added.dtype == torch.float16
    assert_close(added, expected)
    of = [a, b, inputs]
    assert_close(torch.autograd.grad(added.sum(), of), torch.autograd.grad(expected.sum(), of))


def test_a_second_backward_pass_is_refused():
    # the first has written its gradients where the forward pass left its product
    module, inputs = modules_of("linear", 1)[0], random(2, 3, 4)
    (added,) = jointly([module], inputs, random(2, RANK, 4), [random(2, 5, RANK)], 1.0)
    added.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="a second backward pass needs a second forward pass"):
        added.sum().backward()


def test_products_are_as_few_as_can_be():
    modules, inputs = modules_of("linear", 2), random(2, 3, 4)
    a, factors = random(2, 2 * RANK, 4), [random(2, outputs, RANK) for outputs in OUTPUTS[:2]]
    outputs = [module(inputs) for module in modules]
    reduction = JointReduction(a, 2, 1.0)
    forward = dispatched(lambda: reduction.read(inputs, inputs))
    assert forward.operations == Counter({"bmm": 1})
    added = [
        reduction.added(member, module, output, b)
        for member, (module, output, b) in enumerate(zip(modules, outputs, factors, strict=True))
    ]
    ones = [torch.ones_like(output) for output in added]
    backward = dispatched(lambda: torch.autograd.backward(added, ones))
    # for each module those of B, of what it multiplies and of the frozen product; then A's and, in place, the inputs'
    assert backward.operations == Counter({"bmm": 2 * 2 + 1, "mm": 2, "add": 1, "baddbmm_": 1})
