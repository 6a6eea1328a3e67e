import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx

from ia2.errors import InputError
from ia2.models.sites import ATTENTION_OUTPUT, LOGITS, Site
from ia2.training.layer_weights import Layers
from ia2.training.objectives import (
    Align,
    AlignAndMatch,
    MatchDistribution,
    MatchTokens,
    ObjectiveTargets,
    mean_by_example,
)

SITE = ATTENTION_OUTPUT
align, match = Align().loss, MatchTokens().loss

COUNTS = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def wanted_of(counts, layers=3, hidden=4, vocabulary=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    n = sum(counts)
    example = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    tokens = torch.randint(0, vocabulary, (n,), generator=generator)
    teacher, student = (
        {SITE: hidden_of(generator, n, layers, hidden), LOGITS: logits_of(generator, n, vocabulary)} for _ in range(2)
    )
    return student, ObjectiveTargets(tokens, teacher, {SITE: example, LOGITS: example}, len(counts))


def hidden_of(generator, n, layers, hidden):
    return torch.randn(layers, n, hidden, generator=generator).transpose(0, 1)


def logits_of(generator, n, vocabulary):
    return torch.randn(n, vocabulary, generator=generator)


def test_alignment_loss_worked_by_hand():
    # one layer off by 1 everywhere, one by 2: 1 + 4 at each token; a second example is met exactly
    teacher = torch.zeros(2, 3, 4)
    student = torch.stack([torch.ones(3, 4), 2 * torch.ones(3, 4)])
    student[:, 2] = 0
    example = torch.tensor([0, 0, 1])
    targets = ObjectiveTargets(torch.zeros(3, dtype=torch.long), {SITE: teacher.transpose(0, 1)}, {SITE: example}, 2)
    loss = align({SITE: student.transpose(0, 1)}, targets)
    assert loss.tolist() == [5.0, 0.0]


@settings(deadline=None)
@given(COUNTS)
def test_losses_are_means_over_each_examples_own_tokens_in_float64(counts):
    student, targets = wanted_of(counts)
    start = 0
    for index, count in enumerate(counts):
        own = slice(start, start + count)
        start += count
        squared = (student[SITE][own].double() - targets.activations[SITE][own].double()) ** 2
        layers = [squared[:, layer].mean().item() for layer in range(3)]
        assert align(student, targets)[index].item() == approx(sum(layers), rel=1e-5)
        logits = student[LOGITS][own].double().log_softmax(-1)
        entropy = -logits[torch.arange(count), targets.tokens[own]].mean().item()
        assert match(student, targets)[index].item() == approx(entropy, rel=1e-5, abs=1e-6)


def test_losses_are_computed_in_float32_whatever_comes_in():
    student, targets = wanted_of([2, 1])
    half = {site: values.bfloat16() for site, values in student.items()}
    assert align(half, targets).dtype == torch.float32
    assert match(half, targets).dtype == torch.float32


def test_an_order_of_positions_that_mixes_examples_changes_nothing():
    assert mean_by_example(torch.tensor([1.0, 2.0, 3.0, 6.0]), torch.tensor([1, 0, 1, 0]), 2).tolist() == [4.0, 2.0]


def test_an_example_without_a_position_has_no_loss():
    assert mean_by_example(torch.tensor([1.0, 2.0]), torch.tensor([2, 2]), 3).tolist() == [0.0, 0.0, 1.5]


def test_what_an_objective_reads_must_be_there():
    student, targets = wanted_of([1])
    with pytest.raises(ValueError, match="the loss reads attention-output"):
        align({LOGITS: student[LOGITS]}, targets)
    with pytest.raises(ValueError, match="the loss reads logits"):
        match({SITE: student[SITE]}, targets)
    with pytest.raises(ValueError, match="the loss reads logits"):
        MatchDistribution().loss(student, ObjectiveTargets(targets.tokens, {}, targets.example, 1))


@settings(deadline=None)
@given(COUNTS)
def test_other_errors_are_those_of_torch_in_float64(counts):
    student, targets = wanted_of(counts)
    ours, theirs = student[SITE].double(), targets.activations[SITE].double()
    relative = ((ours - theirs) ** 2).sum(-1) / (theirs**2).sum(-1)
    cosine = 1 - (ours * theirs).sum(-1) / (ours.norm(dim=-1) * theirs.norm(dim=-1))
    for error, values in (("relative", relative), ("cosine", cosine)):
        found = Align(error=error).loss(student, targets).tolist()
        for index, loss in enumerate(found):
            assert loss == approx(values[targets.example[SITE] == index].mean(0).sum().item(), rel=1e-4, abs=1e-5)


def test_chosen_layers_alone_count_by_their_weights():
    student, targets = wanted_of([2, 1])
    alone = [Align(layers=Layers(str(layer))).loss(student, targets) for layer in range(3)]
    assert torch.allclose(sum(alone), align(student, targets))
    weighed = Align(layers=Layers("0,2", (0.5, 7.0, 2.0))).loss(student, targets)
    assert torch.allclose(weighed, 0.5 * alone[0] + 2 * alone[2])
    with pytest.raises(InputError, match="the model has layers 0 to 2"):
        Align(layers=Layers("2-3")).loss(student, targets)


@settings(deadline=None)
@given(COUNTS)
def test_the_divergence_is_torchs_in_float64_and_nothing_between_equals(counts):
    student, targets = wanted_of(counts)
    p, q = targets.activations[LOGITS].double().softmax(-1), student[LOGITS].double().softmax(-1)
    value = (p * (p.log() - q.log())).sum(-1)
    for index, loss in enumerate(MatchDistribution().loss(student, targets).tolist()):
        assert loss == approx(value[targets.example[LOGITS] == index].mean().item(), rel=1e-4, abs=1e-6)
    same = {LOGITS: targets.activations[LOGITS]}
    assert MatchDistribution().loss(same, targets).abs().max() < 1e-6


@pytest.mark.parametrize("top", [None, 2])
def test_tokens_that_the_head_masks_add_nothing(top):
    student, targets = wanted_of([2, 3])
    unmasked = [0, 2, 3, 5, 6]
    alone = ObjectiveTargets(targets.tokens, {LOGITS: targets.activations[LOGITS][:, unmasked]}, targets.example, 2)
    expected = MatchDistribution(top).loss({LOGITS: student[LOGITS][:, unmasked]}, alone)
    masked = [logits.clone() for logits in (student[LOGITS], targets.activations[LOGITS])]
    for logits in masked:
        logits[:, [1, 4]] = -torch.inf
    masked[0].requires_grad_(True)
    loss = MatchDistribution(top).loss(
        {LOGITS: masked[0]}, ObjectiveTargets(targets.tokens, {LOGITS: masked[1]}, targets.example, 2)
    )
    assert torch.allclose(loss, expected, atol=1e-6)
    loss.sum().backward()
    assert masked[0].grad.isfinite().all()
    # what the teacher may say and the student may not is infinitely far, which training calls diverged
    closed = student[LOGITS].clone()
    closed[:, 2] = -torch.inf
    assert MatchDistribution(top=None).loss({LOGITS: closed}, targets).isinf().all()


def test_the_likeliest_tokens_keep_their_probability_and_the_rest_is_spread_evenly():
    p = torch.tensor([[0.5, 0.3, 0.15, 0.05]])
    assert torch.allclose(MatchDistribution(2).evened(p.log()).exp(), torch.tensor([[0.5, 0.3, 0.1, 0.1]]))
    assert torch.allclose(MatchDistribution(9).evened(p.log()).exp(), p)


def test_both_losses_are_weighed_as_in_the_scripts():
    student, targets = wanted_of([2, 3])
    expected = 0.9 * align(student, targets) + 0.1 * match(student, targets)
    assert torch.allclose(AlignAndMatch(0.1).loss(student, targets), expected)


def test_another_site_is_aligned_at_its_own_positions():
    student, targets = wanted_of([2, 1])
    residual = Site("residual", "all")
    moved = ObjectiveTargets(
        targets.tokens, {residual: targets.activations[SITE]}, {residual: targets.example[SITE]}, 2
    )
    assert torch.equal(Align(residual).loss({residual: student[SITE]}, moved), align(student, targets))
    assert Align(residual).student_sites == Align(residual).teacher_sites == {residual}
    both = AlignAndMatch(0.2, Align(Site("mlp-output"), "cosine"))
    assert both.student_sites == {Site("mlp-output"), LOGITS}
    assert both.teacher_sites == {Site("mlp-output")}


def test_logits_are_matched_and_never_aligned():
    with pytest.raises(InputError, match="site 'logits': distributions are matched, not aligned"):
        Align(LOGITS)


def test_label_smoothing_spreads_a_share_over_the_vocabulary():
    student, targets = wanted_of([2, 1])
    logits = student[LOGITS].double().log_softmax(-1)
    wished = torch.full_like(logits, 0.2 / 7)
    wished[torch.arange(3), targets.tokens] += 0.8
    expected = -(wished * logits).sum(-1)
    loss = MatchTokens(0.2).loss(student, targets)
    assert loss.tolist() == approx([expected[:2].mean().item(), expected[2].item()], rel=1e-5)
    assert MatchTokens(0.0).loss(student, targets).tolist() == match(student, targets).tolist()
    for wrong in (-0.1, 1.0):
        with pytest.raises(InputError, match=f"smoothing {wrong:g}: this must be 0 or more, and less than 1"):
            MatchTokens(wrong)


def test_labels_are_not_smoothed_over_tokens_that_the_head_masks():
    student, targets = wanted_of([2, 1])
    masked = next(token for token in range(7) if token not in targets.tokens)
    some = [token for token in range(7) if token != masked]
    without = student[LOGITS][:, some].double().log_softmax(-1)
    right = [some.index(token) for token in targets.tokens.tolist()]
    expected = -(0.8 * without[torch.arange(3), right] + 0.2 * without.mean(-1))
    logits = student[LOGITS].clone()
    logits[:, masked] = -torch.inf
    logits.requires_grad_()
    loss = MatchTokens(0.2).loss({**student, LOGITS: logits}, targets)
    assert loss.tolist() == approx([expected[:2].mean().item(), expected[2].item()], rel=1e-5)
    loss.sum().backward()
    assert logits.grad.isfinite().all()


def test_alignment_goes_with_distributions_too():
    student, targets = wanted_of([2, 1])
    both = AlignAndMatch(0.25, Align(error="relative", layers=Layers("1")), MatchDistribution(3))
    expected = 0.75 * both.align.loss(student, targets) + 0.25 * MatchDistribution(3).loss(student, targets)
    assert both.loss(student, targets).tolist() == approx(expected.tolist())
    assert both.teacher_sites == {SITE, LOGITS}
    assert AlignAndMatch(0.25).teacher_sites == {SITE}
