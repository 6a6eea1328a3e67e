import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx

from ia2.objectives import StudentOutputs, Wanted, alignment_loss, mean_by_example, token_loss

COUNTS = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def wanted_of(counts, layers=3, hidden=4, vocabulary=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n = sum(counts)
    example = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    wanted = Wanted(
        torch.randint(0, vocabulary, (n,), generator=generator),
        torch.randn(layers, n, hidden, generator=generator),
        example,
        len(counts),
    )
    student = StudentOutputs(
        torch.randn(layers, n, hidden, generator=generator), torch.randn(n, vocabulary, generator=generator)
    )
    return student, wanted


def test_alignment_loss_worked_by_hand():
    # one layer off by 1 everywhere, one by 2: 1 + 4 at each token; a second example is met exactly
    teacher = torch.zeros(2, 3, 4)
    student = torch.stack([torch.ones(3, 4), 2 * torch.ones(3, 4)])
    student[:, 2] = 0
    example = torch.tensor([0, 0, 1])
    loss = alignment_loss(StudentOutputs(student, None), Wanted(torch.zeros(3, dtype=torch.long), teacher, example, 2))
    assert loss.tolist() == [5.0, 0.0]


@settings(deadline=None)
@given(COUNTS)
def test_losses_are_means_over_each_examples_own_tokens_in_float64(counts):
    student, wanted = wanted_of(counts)
    start = 0
    for index, count in enumerate(counts):
        own = slice(start, start + count)
        start += count
        squared = (student.attention[:, own].double() - wanted.attention[:, own].double()) ** 2
        layers = [squared[layer].mean().item() for layer in range(3)]
        assert alignment_loss(student, wanted)[index].item() == approx(sum(layers), rel=1e-5)
        logits = student.logits[own].double().log_softmax(-1)
        entropy = -logits[torch.arange(count), wanted.tokens[own]].mean().item()
        assert token_loss(student, wanted)[index].item() == approx(entropy, rel=1e-5, abs=1e-6)


def test_losses_are_computed_in_float32_whatever_comes_in():
    student, wanted = wanted_of([2, 1])
    half = StudentOutputs(student.attention.bfloat16(), student.logits.bfloat16())
    assert alignment_loss(half, wanted).dtype == torch.float32
    assert token_loss(half, wanted).dtype == torch.float32


def test_an_order_of_positions_that_mixes_examples_changes_nothing():
    wanted = Wanted(torch.zeros(4, dtype=torch.long), None, torch.tensor([1, 0, 1, 0]), 2)
    assert mean_by_example(torch.tensor([1.0, 2.0, 3.0, 6.0]), wanted).tolist() == [4.0, 2.0]


def test_what_an_objective_reads_must_be_there():
    student, wanted = wanted_of([1])
    with pytest.raises(ValueError, match="attention outputs"):
        alignment_loss(StudentOutputs(None, student.logits), wanted)
    with pytest.raises(ValueError, match="logits"):
        token_loss(StudentOutputs(student.attention, None), wanted)
