from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from ia2.adapters.adapter import fresh_adapter
from ia2.adapters.bank import Bank
from ia2.adapters.lora import LoRA, LowRank
from ia2.models.memory import saved_bytes
from ia2.models.reader import Reader
from ia2.models.sequences import shared_tokens
from ia2.prompting.fewshot import FewShotSet
from ia2.training.methods import ALIGN, FINE_TUNE
from ia2.training.passes import TrainingPass, dev_passes, gradient_step, losses, mean_losses, step_bytes
from ia2.training.shares import PassSize
from ia2.training.student import Part, StageRows
from ia2.training.teacher import collect_targets


@pytest.fixture
def few(toy_task):
    return FewShotSet.draw(toy_task, 6, seed=1)


@pytest.fixture
def targets(tiny_model, few, tmp_path):
    return collect_targets(tiny_model, few, cache_dir=tmp_path)


def reader_of(network, count, form=LowRank(1.0)):  # noqa: B008 - a frozen value
    """A bank of random adapters that change what the network says, ready to be trained, and who reads with it."""
    fresh = fresh_adapter(network, LoRA().configuration(network), 0)
    generator = torch.Generator().manual_seed(0)
    adapters = [
        {name: torch.randn(tensor.shape, generator=generator) * 0.2 for name, tensor in fresh.weights.items()}
        for _ in range(count)
    ]
    bank = Bank(network, adapters, form)
    bank.values.requires_grad_(True)
    return Reader(network, bank)


def measured(reader, parts, rows_per_pass=None):
    """The mean loss of each part."""
    return mean_losses(reader, dev_passes(reader, parts, PassSize(None, rows_per_pass)), len(parts)).tolist()


@pytest.mark.parametrize("stage", [ALIGN, FINE_TUNE], ids=["align", "fine-tune"])
def test_accumulation_and_the_order_of_rows_give_the_gradient_of_one_batch(tiny_model, few, targets, stage):
    rows = StageRows.of(stage, few, targets, tiny_model).train
    reader = reader_of(tiny_model.network, 1)
    gradients = []
    assert shared_tokens(rows.sequences), "rows that have nothing in common share nothing in a pass"
    for indices, size in (([0, 1, 2, 3, 4], None), ([0, 1, 2, 3, 4], 1), ([0, 1, 2, 3, 4], 2), ([4, 2, 0, 3, 1], 3)):
        (loss,) = gradient_step(reader, [Part(stage, rows, indices)], PassSize(None, size))
        gradients.append(reader.adapters.values.grad.clone())
        (expected,) = measured(reader, [Part(stage, rows, range(5))])
        assert loss.item() == pytest.approx(expected, rel=1e-5)
    for other in gradients[1:]:
        assert_close(gradients[0], other, atol=1e-5 * gradients[0].abs().max().item(), rtol=1e-4)


def test_the_memory_of_a_step_with_dropout_is_that_of_rows_that_share_nothing(tiny_model, few):
    rows = StageRows.of(FINE_TUNE, few, None, tiny_model).train
    assert shared_tokens(rows.sequences)
    part = Part(FINE_TUNE, rows, range(4))
    reader, dropped = (reader_of(tiny_model.network, 1, form) for form in (LowRank(1.0), LowRank(1.0, dropout=0.3)))
    kept = saved_bytes(lambda: losses(dropped, [replace(part, noise=5)]), tiny_model.network)
    adapters = 8 * dropped.adapters.values.numel() * 4
    assert step_bytes(dropped, part) == int(1.5 * kept) + adapters
    assert step_bytes(reader, part) < step_bytes(dropped, part)


def test_stages_of_many_adapters_share_a_pass_and_nothing_else(tiny_model, few, targets):
    reader = reader_of(tiny_model.network, 3)
    stages = (ALIGN, FINE_TUNE, ALIGN)
    rows = [StageRows.of(stage, few, targets, tiny_model).train for stage in stages]
    parts = [
        Part(stage, own, indices, place)
        for place, (stage, own, indices) in enumerate(zip(stages, rows, ([0, 1], [2, 0, 5, 1], [3]), strict=True))
    ]
    together = losses(reader, parts)
    assert_close(together, torch.cat([losses(reader, [part]) for part in parts]), atol=1e-5, rtol=1e-5)
    totals = gradient_step(reader, parts)
    everyone = reader.adapters.values.grad.clone()
    for place, part in enumerate(parts):
        alone = Bank(tiny_model.network, [reader.adapters.weights(place)], LowRank(1.0))
        alone.values.requires_grad_(True)
        (loss,) = gradient_step(Reader(tiny_model.network, alone), [replace(part, adapter=0)])
        assert loss.item() == pytest.approx(totals[place].item(), rel=1e-5)
        scale = everyone[place].abs().max().item()
        assert_close(alone.values.grad[0], everyone[place], atol=1e-5 * scale, rtol=1e-4)


def test_no_head_is_run_for_attention_and_nothing_is_recorded_for_logits(tiny_model, few, targets, monkeypatch):
    heads = []
    handle = tiny_model.network.lm_head.register_forward_hook(lambda _m, given, _o: heads.append(given[0].shape[1]))
    rows = {stage.objective.name: StageRows.of(stage, few, targets, tiny_model).train for stage in (ALIGN, FINE_TUNE)}
    align = Part(ALIGN, rows["align"], [0, 1], 0)
    losses(Reader(tiny_model.network), [align])
    assert heads == []
    reader = reader_of(tiny_model.network, 2)
    both = [align, Part(FINE_TUNE, rows["match-tokens"], [0, 1, 2], 1)]
    losses(reader, both)
    handle.remove()
    assert heads == [3]
    monkeypatch.setattr("ia2.models.sites.Recording.keep", lambda *_a: pytest.fail("attention was recorded"))
    losses(reader, both[1:])
    with pytest.raises(pytest.fail.Exception, match="attention was recorded"):
        losses(reader, both[:1])


def test_dev_losses_of_many_are_those_of_each(tiny_model, few, targets):
    reader = reader_of(tiny_model.network, 2)
    parts = [
        Part(stage, StageRows.of(stage, few, targets, tiny_model).dev, range(3), place)
        for place, stage in ((1, ALIGN), (0, FINE_TUNE))
    ]
    found = measured(reader, parts)
    for part, loss in zip(parts, found, strict=True):
        with torch.no_grad():
            assert loss == pytest.approx(losses(reader, [part]).mean().item(), rel=1e-5)
    assert measured(reader, parts, rows_per_pass=1) == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("stage", [ALIGN, FINE_TUNE])
def test_responses_of_different_lengths_count_once_each_in_one_batch(tiny_model, toy_texts, tmp_path, stage):
    few = FewShotSet.draw(replace(toy_texts, stop="a"), 4)
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path)
    rows = StageRows.of(stage, few, targets, tiny_model).train
    assert len({len(sequence.response) for sequence in rows.sequences}) > 1
    together = losses(Reader(tiny_model.network), [Part(stage, rows, range(4))])
    alone = torch.cat([losses(Reader(tiny_model.network), [Part(stage, rows, [index])]) for index in range(4)])
    assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_long_parts_have_passes_of_their_own_and_the_gradient_is_the_same(tiny_model, few, targets, monkeypatch):
    reader = reader_of(tiny_model.network, 3)
    rows = StageRows.of(FINE_TUNE, few, None, tiny_model).train
    parts = [Part(FINE_TUNE, rows, indices, place) for place, indices in enumerate(([0], [1, 2, 3, 4, 5], [1]))]
    expected = gradient_step(reader, parts)
    gradient = reader.adapters.values.grad.clone()
    passes = []
    monkeypatch.setattr("ia2.training.passes.CPU_BUSY_TOKENS", 1)

    plain = TrainingPass.of

    def counted(reader, shares):
        passes.append([share.part.adapter for share in shares])
        return plain(reader, shares)

    monkeypatch.setattr("ia2.training.passes.TrainingPass.of", counted)
    found = gradient_step(reader, parts)
    assert passes == [[0, 2], [1]]
    assert_close(found, expected, atol=0, rtol=1e-5)
    assert_close(reader.adapters.values.grad, gradient, atol=1e-5 * gradient.abs().max().item(), rtol=1e-4)
