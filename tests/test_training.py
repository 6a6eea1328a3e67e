import math
from dataclasses import replace

import pytest
import torch
from peft import get_peft_model, set_peft_model_state_dict
from torch.testing import assert_close

from ia2.adapters import LoRA, attached, fresh_adapter
from ia2.course import Training
from ia2.errors import InputError
from ia2.fewshot import FewShotSet, PromptTokenizer
from ia2.methods import ALIGN, FINE_TUNE, IA2, IA2_THEN_SFT, METHODS, SFT
from ia2.randomness import generator
from ia2.teacher import collect_targets
from ia2.training import StageRows, accumulate_gradients, losses, mean_loss, train

SHORT = Training(epochs=4)


@pytest.fixture
def few(toy_task):
    return FewShotSet.draw(toy_task, 6, seed=1)


@pytest.fixture
def targets(tiny_model, few, tmp_path):
    return collect_targets(tiny_model, few, cache_dir=tmp_path)


def plain_loss(model, row, response, target):
    """One row's loss written from the paper: equation 2 where there is no target, else equation 4."""
    tokens = PromptTokenizer(model.tokenizer)
    prompt = tokens.prompt(row.query)
    ids = torch.tensor([prompt + tuple(response)])
    kept = []
    hooks = [
        layer.self_attn.register_forward_hook(lambda _m, _g, output: kept.append(output[0][0]))
        for layer in model.network.model.layers
    ]
    logits = model.network(ids).logits[0]
    for hook in hooks:
        hook.remove()
    span = slice(len(prompt) - 1, len(prompt) - 1 + len(response))
    if target is None:
        return torch.nn.functional.cross_entropy(logits[span], torch.tensor(response))
    return sum(((kept[layer][span] - target.attention[layer]) ** 2).mean() for layer in range(len(kept)))


def plain_training(model, few, method, targets, rate, training):
    """The loop written from PROTOCOL with PEFT, one example at a time with gradient accumulation."""
    start = fresh_adapter(model.network, LoRA().configuration(model.network), few.seed)
    state, history = dict(start.weights), []
    tokens = PromptTokenizer(model.tokenizer)
    for stage in method.stages:
        peft_model = get_peft_model(model.network, start.configuration)
        set_peft_model_state_dict(peft_model, state)
        parameters = [parameter for name, parameter in peft_model.named_parameters() if "lora_" in name]
        optimiser = torch.optim.Adam(parameters, lr=rate)

        def loss_of(part, index, stage=stage):
            row, target = getattr(few, part)[index], getattr(targets, part)[index]
            if stage is ALIGN:
                return plain_loss(model, row, target.tokens.tolist(), target)
            return plain_loss(model, row, tokens.response(row.query, row.response), None)

        best, stale, step, over, losses = math.inf, 0, 0, False, []
        for epoch in range(training.epochs):
            order = list(range(few.n))
            generator(few.seed, f"order of epoch {epoch}").shuffle(order)
            batches = [order[start : start + 4] for start in range(0, few.n, 4)]
            for place, batch in enumerate(batches):
                optimiser.zero_grad()
                for index in batch:
                    (loss_of("train", index) / len(batch)).backward()
                optimiser.step()
                step += 1
                if step % 2 == 0 or place == len(batches) - 1:
                    with torch.no_grad():
                        dev = sum(loss_of("dev", index).item() for index in range(len(few.dev))) / len(few.dev)
                    losses.append(dev)
                    if dev < best:
                        best, stale = dev, 0
                        state = {
                            name.replace(".default", ""): parameter.detach().clone()
                            for name, parameter in peft_model.named_parameters()
                            if "lora_" in name
                        }
                    else:
                        stale += 1
                    over = stale >= training.patience
                if over:
                    break
            if over:
                break
        peft_model.unload()
        history.append((step, losses))
    return state, history


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_training_equals_a_plain_loop_with_peft(tiny_model, few, targets, method):
    trained = train(tiny_model, few, method, learning_rate=3e-3, targets=targets, training=SHORT)
    state, history = plain_training(tiny_model, few, method, targets, 3e-3, SHORT)
    for stage, (steps, dev_losses) in zip(trained.stages, history, strict=True):
        assert stage.steps == steps
        assert [loss for _, loss in stage.dev_losses] == pytest.approx(dev_losses, abs=1e-5, rel=1e-5)
    assert trained.adapter.weights.keys() == state.keys()
    for name, tensor in trained.adapter.weights.items():
        assert_close(tensor, state[name], atol=2e-5, rtol=0)


@pytest.mark.parametrize("stage", [ALIGN, FINE_TUNE], ids=["align", "fine-tune"])
def test_accumulation_and_the_order_of_rows_give_the_gradient_of_one_batch(tiny_model, few, targets, stage):
    rows = StageRows.of(stage, few, targets, tiny_model).train
    adapter = fresh_adapter(tiny_model.network, LoRA().configuration(tiny_model.network), 0)
    gradients = []
    for indices, size in (([0, 1, 2, 3, 4], None), ([0, 1, 2, 3, 4], 2), ([4, 2, 0, 3, 1], 3)):
        with attached(tiny_model.network, adapter, trainable=True) as model:
            loss = accumulate_gradients(tiny_model.network, rows, indices, stage, size)
            gradients.append([p.grad.clone() for p in model.parameters() if p.requires_grad])
        assert loss == pytest.approx(mean_loss_of(tiny_model, rows, stage), rel=1e-5)
    for other in gradients[1:]:
        for one, same in zip(gradients[0], other, strict=True):
            assert_close(one, same, atol=1e-6, rtol=1e-4)


def mean_loss_of(model, rows, stage):
    first = type(rows)(rows.sequences[:5], rows.targets and rows.targets[:5])
    return mean_loss(model.network, first, stage)


def test_the_kept_adapter_is_the_best_by_dev_loss_byte_for_byte(tiny_model, few, targets):
    # a learning rate that overshoots, so that the last adapter is not the best
    long = train(tiny_model, few, SFT, learning_rate=0.1, training=Training(epochs=20))
    (stage,) = long.stages
    assert stage.stopped_by == "patience"
    assert stage.best_step < stage.steps
    assert long.dev_loss == min(loss for _, loss in stage.dev_losses)
    # trained again and made to end exactly there, it is the same
    until_best = replace(Training(), epochs=math.ceil(stage.best_step / 2), dev_every=1)
    again = train(tiny_model, few, SFT, learning_rate=0.1, training=replace(until_best, keep="last"))
    if again.stages[0].steps == stage.best_step:
        assert all(
            torch.equal(long.adapter.weights[name], again.adapter.weights[name]) for name in long.adapter.weights
        )
    # and it has the dev loss that it was kept for
    rows = StageRows.of(FINE_TUNE, few, None, tiny_model).dev
    with attached(tiny_model.network, long.adapter):
        assert mean_loss(tiny_model.network, rows, FINE_TUNE) == long.dev_loss
    last = train(tiny_model, few, SFT, learning_rate=0.1, training=Training(epochs=20, keep="last"))
    assert any(not torch.equal(long.adapter.weights[n], last.adapter.weights[n]) for n in last.adapter.weights)


def test_a_stage_that_two_methods_share_is_trained_once(tiny_model, few, targets):
    done = {}
    first = train(tiny_model, few, IA2, learning_rate=1e-2, targets=targets, training=SHORT, done=done)
    both = train(tiny_model, few, IA2_THEN_SFT, learning_rate=1e-2, targets=targets, training=SHORT, done=done)
    assert both.stages[0] is first.stages[0]
    alone = train(tiny_model, few, IA2_THEN_SFT, learning_rate=1e-2, targets=targets, training=SHORT)
    assert alone.stages == both.stages
    assert all(torch.equal(alone.adapter.weights[name], both.adapter.weights[name]) for name in both.adapter.weights)


def test_training_is_the_same_bytes_each_time_and_leaves_the_network_alone(tiny_model, few, targets):
    before = {name: parameter.clone() for name, parameter in tiny_model.network.named_parameters()}
    one, other = (train(tiny_model, few, IA2, learning_rate=1e-2, targets=targets, training=SHORT) for _ in range(2))
    assert one.stages == other.stages
    assert all(torch.equal(one.adapter.weights[name], other.adapter.weights[name]) for name in one.adapter.weights)
    assert all(torch.equal(parameter, before[name]) for name, parameter in tiny_model.network.named_parameters())


def test_alignment_brings_attention_nearer_to_the_teachers(tiny_model, few, targets):
    trained = train(tiny_model, few, IA2, learning_rate=1e-2, targets=targets, training=Training(epochs=20))
    assert trained.stages[0].train_losses[-1] < 0.8 * trained.stages[0].train_losses[0]


def test_alignment_needs_targets(tiny_model, few):
    with pytest.raises(ValueError, match="collect_targets"):
        train(tiny_model, few, IA2, learning_rate=1e-3)


@pytest.mark.parametrize("rate", [0.0, -1e-3, math.nan, math.inf])
def test_learning_rates_that_take_no_step_are_refused(tiny_model, few, rate):
    with pytest.raises(InputError, match="positive number"):
        train(tiny_model, few, SFT, learning_rate=rate)


def test_training_that_diverges_is_said(tiny_model, few):
    with pytest.raises(FloatingPointError, match="diverged"):
        train(tiny_model, few, SFT, learning_rate=1e30)


@pytest.mark.parametrize("stage", [ALIGN, FINE_TUNE])
def test_responses_of_different_lengths_count_once_each_in_one_batch(tiny_model, toy_texts, tmp_path, stage):
    few = FewShotSet.draw(replace(toy_texts, stop="a"), 4)
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path)
    rows = StageRows.of(stage, few, targets, tiny_model).train
    assert len({len(sequence.response) for sequence in rows.sequences}) > 1
    together = losses(tiny_model.network, rows, range(4), stage)
    alone = torch.cat([losses(tiny_model.network, rows, [index], stage) for index in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_the_end_token_is_trained_on_also_where_it_is_the_padding_token(tiny_model, toy_texts):
    assert tiny_model.tokenizer.pad_token_id == tiny_model.end_token
    few = FewShotSet.draw(toy_texts, 4)
    rows = StageRows.of(FINE_TUNE, few, None, tiny_model).train
    for sequence, row in zip(rows.sequences, few.train, strict=True):
        assert sequence.response[-1] == tiny_model.end_token
        ids = torch.tensor([[*tiny_model.tokenizer(row.query + row.response)["input_ids"], tiny_model.end_token]])
        start = len(tiny_model.tokenizer(row.query)["input_ids"])
        with torch.no_grad():
            logits = tiny_model.network(ids).logits[0]
        expected = torch.nn.functional.cross_entropy(logits[start - 1 : -1], ids[0, start:])
        index = rows.sequences.index(sequence)
        torch.testing.assert_close(losses(tiny_model.network, rows, [index], FINE_TUNE)[0], expected)
