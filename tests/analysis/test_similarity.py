from dataclasses import replace

import torch
from pytest import approx
from torch.testing import assert_close

from ia2.analysis.similarity import asim, greedy_activations, response_activations
from ia2.prompting.prompts import PromptTokenizer


def test_asim_worked_by_hand():
    # two rows, two layers; the second row has two response tokens
    ours = [
        torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]]),
        torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [3.0, 0.0]]]),
    ]
    theirs = [
        torch.tensor([[[2.0, 0.0]], [[0.0, 1.0]]]),
        torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[1.0, 1.0], [-1.0, 0.0]]]),
    ]
    # row 1: 1, 0; row 2: (1 + 0) / 2, (1 - 1) / 2
    similarity = asim(*([activation.transpose(0, 1) for activation in rows] for rows in (ours, theirs)))
    assert similarity.by_layer.tolist() == approx([0.75, 0.0], abs=1e-6)
    assert similarity.by_row.tolist() == approx([0.5, 0.25], abs=1e-6)
    metrics = similarity.metrics()
    assert metrics["asim"] == approx(0.375)
    assert metrics["asim_interval"] == approx((0.25, 0.5))
    # first tokens: 1 and 1, 0 and 1; of second tokens there is one: 0, -1
    assert similarity.by_layer_and_token.tolist() == [approx([1.0, 0.0], abs=1e-6), approx([0.5, -1.0], abs=1e-6)]
    assert metrics["asim_by_token"] == [0.75, -0.5]


def test_single_tokens_have_no_curve_of_tokens():
    one = [torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])]
    assert "asim_by_token" not in asim(one, one).metrics()


def test_a_model_is_like_itself(tiny_model, toy_task):
    rows = toy_task.evaluation[:6]
    outputs = response_activations(tiny_model, rows, toy_task, demonstrations=toy_task.pool[:4])
    assert asim(outputs, outputs).metrics()["asim"] == approx(1.0)


def test_attention_is_that_of_each_whole_prompt_alone(tiny_model, toy_task):
    rows, shown = toy_task.evaluation[:5], toy_task.pool[:4]
    tokens = PromptTokenizer(tiny_model.tokenizer)
    outputs = response_activations(tiny_model, rows, toy_task, demonstrations=shown)
    for row, output in zip(rows, outputs, strict=True):
        kept = []
        hooks = [
            layer.self_attn.o_proj.register_forward_hook(lambda _m, _g, output: kept.append(output[0, -1:]))
            for layer in tiny_model.network.model.layers
        ]
        with torch.no_grad():
            tiny_model.network(torch.tensor([tokens.sequence(row.query, row.response, shown).prompt]))
        for hook in hooks:
            hook.remove()
        assert_close(output, torch.stack(kept, dim=1), atol=1e-5, rtol=0)


def test_of_texts_of_different_lengths_as_many_tokens_are_compared_as_both_have():
    # one layer: the first tokens are alike, the second ones are not, and a third is there one way alone
    ours = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]], [[1.0, 0.0]]])
    theirs = torch.tensor([[[2.0, 0.0]], [[0.0, 5.0]]])
    for first, second in ((ours, theirs), (theirs, ours)):
        similarity = asim([first], [second])
        assert similarity.by_layer.tolist() == approx([0.5])
        assert similarity.by_layer_and_token.tolist() == [approx([1.0, 0.0])]


def test_greedy_activations_are_those_of_reading_what_was_written(tiny_model, toy_texts):
    rows = toy_texts.evaluation[:4]
    shown, task = toy_texts.pool[:2], replace(toy_texts, max_new_tokens=6, stop=None)
    tokens = PromptTokenizer.of(tiny_model, task)
    lengths = set()
    for row, output in zip(rows, greedy_activations(tiny_model, rows, task, demonstrations=shown), strict=True):
        written = list(tokens.asked(row.query, shown))
        start = len(written)
        kept = []
        hooks = [
            layer.self_attn.o_proj.register_forward_hook(lambda _m, _g, output: kept.append(output[0]))
            for layer in tiny_model.network.model.layers
        ]
        for _ in range(len(output)):
            kept.clear()
            with torch.no_grad():
                written.append(int(tiny_model.network(torch.tensor([written])).logits[0, -1].argmax()))
        for hook in hooks:
            hook.remove()
        assert_close(output, torch.stack(kept, dim=1)[start - 1 :], atol=1e-4, rtol=1e-4)
        assert len(output) == 6 or written[-1] in tiny_model.end_tokens
        lengths.add(len(output))
    assert max(lengths) == 6
