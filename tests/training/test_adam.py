import torch
from torch.testing import assert_close

from ia2.training.adam import Adam


def test_a_step_is_an_independent_step_of_torchs_adam_for_each():
    rates = [1e-3, 3e-2, 0.5]
    generator = torch.Generator().manual_seed(3)
    values = torch.randn(3, 50, generator=generator)
    alone = [values[place].clone().requires_grad_(True) for place in range(3)]
    theirs = [torch.optim.Adam([one], lr=rate) for one, rate in zip(alone, rates, strict=True)]
    ours, going = Adam(values, rates), [0, 1, 2]
    for step in range(12):
        if step == 6:  # the second leaves
            ours.keep([0, 2])
            values, going = values[[0, 2]], [0, 2]
        gradient = torch.randn(3, 50, generator=generator) * 10.0 ** -torch.arange(3)[:, None]
        ours.step(values, gradient[going])
        for place, number in enumerate(going):
            alone[number].grad = gradient[number].clone()
            theirs[number].step()
            assert_close(values[place], alone[number].detach(), atol=1e-6, rtol=1e-6)
