import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx

from ia2.errors import InputError
from ia2.training.layer_weights import Layers
from ia2.training.objectives import (
    AlignAndMatch,
    AlignAttention,
    MatchDistribution,
    MatchTokens,
    StudentOutputs,
    Wanted,
    mean_by_example,
)

align, match = AlignAttention().loss, MatchTokens().loss

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
        torch.randn(n, vocabulary, generator=generator),
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
    loss = align(StudentOutputs(student, None), Wanted(torch.zeros(3, dtype=torch.long), teacher, example, 2))
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
        assert align(student, wanted)[index].item() == approx(sum(layers), rel=1e-5)
        logits = student.logits[own].double().log_softmax(-1)
        entropy = -logits[torch.arange(count), wanted.tokens[own]].mean().item()
        assert match(student, wanted)[index].item() == approx(entropy, rel=1e-5, abs=1e-6)


def test_losses_are_computed_in_float32_whatever_comes_in():
    student, wanted = wanted_of([2, 1])
    half = StudentOutputs(student.attention.bfloat16(), student.logits.bfloat16())
    assert align(half, wanted).dtype == torch.float32
    assert match(half, wanted).dtype == torch.float32


def test_an_order_of_positions_that_mixes_examples_changes_nothing():
    wanted = Wanted(torch.zeros(4, dtype=torch.long), None, torch.tensor([1, 0, 1, 0]), 2)
    assert mean_by_example(torch.tensor([1.0, 2.0, 3.0, 6.0]), wanted).tolist() == [4.0, 2.0]


def test_what_an_objective_reads_must_be_there():
    student, wanted = wanted_of([1])
    with pytest.raises(ValueError, match="attention outputs"):
        align(StudentOutputs(None, student.logits), wanted)
    with pytest.raises(ValueError, match="logits"):
        match(StudentOutputs(student.attention, None), wanted)
    with pytest.raises(ValueError, match="logits"):
        MatchDistribution().loss(student, Wanted(wanted.tokens, None, wanted.example, 1))


@settings(deadline=None)
@given(COUNTS)
def test_other_errors_are_those_of_torch_in_float64(counts):
    student, wanted = wanted_of(counts)
    ours, theirs = student.attention.double(), wanted.attention.double()
    relative = ((ours - theirs) ** 2).sum(-1) / (theirs**2).sum(-1)
    cosine = 1 - (ours * theirs).sum(-1) / (ours.norm(dim=-1) * theirs.norm(dim=-1))
    for error, values in (("relative", relative), ("cosine", cosine)):
        found = AlignAttention(error).loss(student, wanted).tolist()
        for index, loss in enumerate(found):
            assert loss == approx(values[:, wanted.example == index].mean(1).sum().item(), rel=1e-4, abs=1e-5)


def test_chosen_layers_alone_count_by_their_weights():
    student, wanted = wanted_of([2, 1])
    alone = [AlignAttention(layers=Layers(str(layer))).loss(student, wanted) for layer in range(3)]
    assert torch.allclose(sum(alone), align(student, wanted))
    weighed = AlignAttention(layers=Layers("0,2", (0.5, 7.0, 2.0))).loss(student, wanted)
    assert torch.allclose(weighed, 0.5 * alone[0] + 2 * alone[2])
    with pytest.raises(InputError, match="the model has layers 0 to 2"):
        AlignAttention(layers=Layers("2-3")).loss(student, wanted)


@settings(deadline=None)
@given(COUNTS)
def test_the_divergence_is_torchs_in_float64_and_nothing_between_equals(counts):
    student, wanted = wanted_of(counts)
    p, q = wanted.logits.double().softmax(-1), student.logits.double().softmax(-1)
    value = (p * (p.log() - q.log())).sum(-1)
    for index, loss in enumerate(MatchDistribution().loss(student, wanted).tolist()):
        assert loss == approx(value[wanted.example == index].mean().item(), rel=1e-4, abs=1e-6)
    same = StudentOutputs(None, wanted.logits)
    assert MatchDistribution().loss(same, wanted).abs().max() < 1e-6


def test_the_likeliest_tokens_keep_their_probability_and_the_rest_is_spread_evenly():
    p = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    assert torch.allclose(MatchDistribution(2).evened(p.log()).exp(), torch.tensor([[0.5, 0.3, 0.1, 0.1]]))
    assert torch.allclose(MatchDistribution(9).evened(p.log()).exp(), p)


def test_both_losses_are_weighed_as_in_the_scripts():
    student, wanted = wanted_of([2, 3])
    expected = 0.9 * align(student, wanted) + 0.1 * match(student, wanted)
    assert torch.allclose(AlignAndMatch(0.1).loss(student, wanted), expected)
