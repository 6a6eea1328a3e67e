import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny_language_model, tiny_network
from pytest import approx

from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.errors import FieldError, InputError
from ia2.evaluation.evaluate import EvaluationSettings, PerQuery, evaluate, evaluate_all
from ia2.inference.label_scoring import LabelScores, LabelTokens
from ia2.models.forward import response_logits
from ia2.prompting.prompts import PromptTokenizer, prompt_text
from ia2.tasks.task import Example


def answers(model, rows, demonstrations=()):
    """Token and probability of each answer, one whole prompt at a time."""
    found = []
    for row in rows:
        ids = torch.tensor([model.tokenizer(prompt_text(row.query, demonstrations))["input_ids"]])
        with torch.no_grad():
            probability = model.network(ids).logits[0, -1].double().softmax(-1)
        best = int(probability.argmax())
        found.append((model.tokenizer.decode([best]), probability[best].item()))
    return found


def same(evaluation, expected, rows):
    for prediction, (text, probability), row in zip(evaluation.predictions, expected, rows, strict=True):
        assert (prediction.query, prediction.response) == (row.query, row.response)
        assert prediction.predicted == text
        assert prediction.confidence == approx(probability, abs=1e-5)
        assert prediction.correct is (text == row.response)


@pytest.mark.parametrize("shown", [0, 6])
def test_evaluation_equals_one_whole_prompt_at_a_time(tiny_model, toy_task, shown):
    demonstrations = toy_task.pool[:shown]
    evaluation = evaluate(tiny_model, toy_task.evaluation, toy_task, demonstrations=demonstrations)
    same(evaluation, answers(tiny_model, toy_task.evaluation, demonstrations), toy_task.evaluation)


def test_each_query_may_have_a_context_of_its_own(tiny_model, toy_task):
    rows = toy_task.evaluation[:4]
    contexts = [toy_task.pool[index : index + 2] for index in range(4)]
    evaluation = evaluate(tiny_model, rows, toy_task, demonstrations=PerQuery(contexts))
    expected = [answers(tiny_model, [row], context)[0] for row, context in zip(rows, contexts, strict=True)]
    same(evaluation, expected, rows)


def test_padding_batch_size_and_prefill_change_nothing(tiny_model, toy_task):
    rows, demonstrations = toy_task.evaluation, toy_task.pool[:4]
    expected = answers(tiny_model, rows, demonstrations)
    for layout in ("packed", "left", "right"):
        for batch_size in (1, 3, 16):
            for share in (True, False):
                evaluation = evaluate(
                    tiny_model,
                    rows,
                    toy_task,
                    demonstrations=demonstrations,
                    settings=EvaluationSettings(layout=layout, batch_size=batch_size, share_prefill=share),
                )
                same(evaluation, expected, rows)


def test_the_demonstrations_are_read_once(tiny_model, toy_task, monkeypatch):
    read = []
    plain = type(tiny_model.network.model).forward

    def counted(self, *arguments, **keywords):
        read.append(keywords["input_ids"].numel())
        return plain(self, *arguments, **keywords)

    monkeypatch.setattr(type(tiny_model.network.model), "forward", counted)
    demonstrations = toy_task.pool[:8]
    evaluate(tiny_model, toy_task.evaluation, toy_task, demonstrations=demonstrations)
    prefix = len(tiny_model.tokenizer(prompt_text("", demonstrations))["input_ids"])
    queries = sum(len(tiny_model.tokenizer(row.query)["input_ids"]) for row in toy_task.evaluation)
    assert sum(read) <= prefix + queries


def test_an_adapter_answers_for_itself_and_is_gone_afterwards(tiny_model, toy_task):
    fresh = fresh_adapter(tiny_model.network, LoRA().configuration(tiny_model.network), 0)
    generator = torch.Generator().manual_seed(0)
    weights = {name: torch.randn(value.shape, generator=generator) for name, value in fresh.weights.items()}
    adapter = Adapter(fresh.configuration, weights)
    plain = evaluate(tiny_model, toy_task.evaluation, toy_task)
    adapted = evaluate(tiny_model, toy_task.evaluation, toy_task, adapter=adapter)
    assert adapted.predictions != plain.predictions
    assert evaluate(tiny_model, toy_task.evaluation, toy_task) == plain


def test_metrics_of_predictions_worked_by_hand(tiny_model, toy_task):
    evaluation = evaluate(tiny_model, toy_task.evaluation[:4], toy_task)
    rows = [
        replace(
            row,
            **{"confidence": confidence, "correct": correct, "label_confidence": 1.0, "label_correct": True},
            **{"response": response, "label_probabilities": (1 - one, one)},
        )
        for row, confidence, correct, response, one in zip(
            evaluation.predictions,
            (0.3, 0.3, 0.9, 0.9),
            (True, False, True, True),
            "0001",
            (0.0, 0.25, 1.0, 1.0),
            strict=True,
        )
    ]
    metrics = replace(evaluation, predictions=tuple(rows)).metrics()
    assert metrics["accuracy"] == 0.75
    assert metrics["ece"] == approx(0.5 * 0.2 + 0.5 * 0.1)
    assert (metrics["label_accuracy"], metrics["label_ece"], metrics["n"]) == (1.0, 0.0, 4)
    for name in ("accuracy", "ece", "label_accuracy", "label_ece"):
        low, high = metrics[f"{name}_interval"]
        assert 0 <= low <= high <= 1
    assert metrics["accuracy_interval"][0] < 0.75 < metrics["accuracy_interval"][1]
    # rows of the label 0 have 1, 0.75 and 0 for it, the row of the label 1 has 1: the third is answered wrongly
    assert metrics["confusion"] == [[2, 1], [0, 1]]
    assert [row["label"] for row in metrics["classes"]] == ["0", "1"]
    assert metrics["balanced_accuracy"] == approx((2 / 3 + 1) / 2)
    assert metrics["brier"] == approx((0 + 2 * 0.25**2 + 2 + 0) / 4)


@pytest.mark.parametrize("scoring", ["token", "whole"])
def test_predictions_hold_the_probability_of_each_label(tiny_model, toy_task, scoring):
    rows = toy_task.evaluation[:6]
    evaluation = evaluate(tiny_model, rows, toy_task, settings=EvaluationSettings(label_scoring=scoring))
    assert evaluation.labels == ("0", "1")
    zero, one = (tiny_model.tokenizer.convert_tokens_to_ids(label) for label in "01")
    for row, prediction, written in zip(rows, evaluation.predictions, evaluation.rows(), strict=True):
        ids = torch.tensor([tiny_model.tokenizer(row.query)["input_ids"]])
        with torch.no_grad():
            shares = tiny_model.network(ids).logits[0, -1, [zero, one]].double().softmax(-1)
        assert prediction.label_probabilities == approx(shares.tolist(), abs=1e-5)
        assert prediction.label_predicted == "01"[int(shares.argmax())]
        assert written["label_probabilities"] == prediction.label_probabilities


def test_whole_labels_are_answered_among_themselves(tiny_model, toy_task):
    labels = (" warm and funny", " cold")
    task = replace(
        toy_task,
        labels=labels,
        pool=(),
        evaluation=tuple(Example(row.query, labels[int(row.response)]) for row in toy_task.evaluation),
    )
    with pytest.raises(FieldError, match="^label_scoring token: .* Use whole"):
        evaluate(tiny_model, task.evaluation, task)
    evaluation = evaluate(tiny_model, task.evaluation, task, settings=EvaluationSettings(label_scoring="whole"))
    assert {row.predicted for row in evaluation.predictions} <= set(labels)
    assert all(row.confidence >= 0.5 for row in evaluation.predictions)
    assert evaluation.metrics()["accuracy"] == np.mean([row.label_correct for row in evaluation.predictions])


def test_text_longer_than_the_context_is_refused(tiny_model, toy_task):
    rows = [Example("Text:" + "cold " * 600 + "\nLabel:", "1")]
    with pytest.raises(InputError, match="the model reads 512"):
        evaluate(tiny_model, rows, toy_task)


def test_a_label_that_does_not_fit_behind_a_text_is_refused_though_the_rows_own_does(tiny_model, toy_task):
    labels = (" 1", " a label of many tokens")
    text = "x" * (512 - len(tiny_model.tokenizer("Text:\nLabel: 1").input_ids))
    row = Example(f"Text:{text}\nLabel:", " 1")
    task = replace(toy_task, labels=labels, pool=(), evaluation=(row,))
    assert len(tiny_model.tokenizer(row.query + row.response).input_ids) == 512
    with pytest.raises(InputError, match="the model reads 512"):
        evaluate(tiny_model, [row], task, settings=EvaluationSettings(label_scoring="whole"))
    only = replace(task, labels=(" 1", " 2"))
    assert evaluate(tiny_model, [row], only, settings=EvaluationSettings(label_scoring="whole")).metrics()["n"] == 1


@pytest.mark.parametrize("scoring", ["token", "whole"])
def test_adapters_that_are_asked_together_answer_as_alone(tiny_model, toy_task, scoring):
    adapters = [random_adapter(tiny_model.network, seed) for seed in range(3)]
    rows = toy_task.evaluation
    together = evaluate_all(
        tiny_model, rows, toy_task, adapters, EvaluationSettings(label_scoring=scoring, batch_size=5)
    )
    assert len({one.predictions for one in together}) == 3
    for adapter, found in zip(adapters, together, strict=True):
        alone = evaluate(
            tiny_model, rows, toy_task, adapter=adapter, settings=EvaluationSettings(label_scoring=scoring)
        )
        for one, other in zip(alone.predictions, found.predictions, strict=True):
            assert (one.predicted, one.label_predicted, one.correct) == (
                other.predicted, other.label_predicted, other.correct
            )  # fmt: skip
            assert (one.confidence, one.label_confidence) == approx(
                (other.confidence, other.label_confidence), abs=1e-5
            )


def test_texts_of_adapters_that_are_asked_together_are_those_of_each_alone(tiny_model, toy_texts):
    adapters = [random_adapter(tiny_model.network, seed) for seed in range(3)]
    rows = toy_texts.evaluation
    together = evaluate_all(tiny_model, rows, toy_texts, adapters, EvaluationSettings(batch_size=2))
    assert len({one.responses for one in together}) == 3
    assert together == [evaluate(tiny_model, rows, toy_texts, adapter=adapter) for adapter in adapters]


def test_adapters_that_cannot_share_a_bank_are_evaluated_one_by_one(tiny_model, toy_task, monkeypatch):
    adapters = [random_adapter(tiny_model.network, 0), random_adapter(tiny_model.network, 1, rank=2)]
    passes = []

    def counted(network, batch, cache, plain=response_logits, **keywords):
        passes.append(len(batch.sequences))
        return plain(network, batch, cache, **keywords)

    monkeypatch.setattr("ia2.models.reader.response_logits", counted)
    found = evaluate_all(tiny_model, toy_task.evaluation, toy_task, adapters, EvaluationSettings(batch_size=2))
    assert max(passes) == 2
    assert sum(passes) == 2 * len(toy_task.evaluation)
    assert [one.metrics() for one in found] == [
        evaluate(
            tiny_model, toy_task.evaluation, toy_task, adapter=adapter, settings=EvaluationSettings(batch_size=2)
        ).metrics()
        for adapter in adapters
    ]


def random_adapter(network, seed, **lora):
    fresh = fresh_adapter(network, LoRA(**lora).configuration(network), 0)
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(tensor.shape, generator=generator) * 0.2 for name, tensor in fresh.weights.items()}
    return Adapter(fresh.configuration, weights)


def test_another_token_that_reads_like_the_label_is_not_the_label(tiny_model, toy_task, monkeypatch):
    row = toy_task.evaluation[0]
    labels = LabelTokens.of(toy_task, PromptTokenizer.of(tiny_model, toy_task), "token")
    first = dict(zip(labels.texts, labels.tokens, strict=True))[row.response][0]
    twin = max(tokens[0] for tokens in labels.tokens) + 1
    plain = PromptTokenizer.text

    def alike(self, tokens):
        return plain(self, [first if token == twin else token for token in tokens])

    monkeypatch.setattr(PromptTokenizer, "text", alike)
    scores = LabelScores(torch.tensor([twin]), torch.tensor([0.9]), torch.tensor([0]), torch.ones(1), torch.ones(1, 1))
    monkeypatch.setattr("ia2.evaluation.evaluate.score_labels", lambda *_arguments, **_keywords: [scores])
    (prediction,) = evaluate(tiny_model, [row], toy_task).predictions
    assert prediction.predicted == row.response
    assert not prediction.correct


def test_spaces_around_an_answer_are_ignored_where_that_is_asked_for(tiny_model, toy_task, monkeypatch):
    # the tokens " 1", "1" and " 0" are likeliest, and the right answers are 1, 1 and 1
    plain, texts = PromptTokenizer.text, {(90,): " 1", (91,): " 0"}
    monkeypatch.setattr(PromptTokenizer, "text", lambda self, ids: texts.get(tuple(ids)) or plain(self, ids))
    label = LabelTokens.of(toy_task, PromptTokenizer.of(tiny_model, toy_task)).tokens[1][0]
    ones = torch.ones(3)
    scores = LabelScores(torch.tensor([90, label, 91]), ones, torch.tensor([1, 1, 1]), ones, torch.ones(3, 2) / 2)
    monkeypatch.setattr("ia2.evaluation.evaluate.score_labels", lambda *_a, **_k: [scores])
    rows = [replace(row, response="1") for row in toy_task.evaluation[:3]]
    judged = {
        correct: [row.correct for row in evaluate(tiny_model, rows, toy_task, settings=settings).predictions]
        for correct in ("exact", "stripped")
        for settings in [EvaluationSettings(correct=correct)]
    }
    assert judged == {"exact": [False, True, False], "stripped": [True, True, False]}


def test_a_tokenizer_without_a_padding_token_changes_nothing(tiny_model, toy_task, toy_texts):
    padless = copy.deepcopy(tiny_model.tokenizer)
    padless.pad_token = None
    assert padless.pad_token_id is None
    model = replace(tiny_model, tokenizer=padless)
    for task in (toy_task, toy_texts):
        rows = task.evaluation[:5]
        assert evaluate(model, rows, task).rows() == evaluate(tiny_model, rows, task).rows()


@pytest.fixture
def changed_head(tiny_model):
    """Changes logits of a head, by default the tiny model's, for the length of a test."""
    handles = []

    def change(by_token, network=tiny_model.network):
        def hook(_module, _arguments, output):
            for token, value in by_token.items():
                output[..., token] = value
            return output

        handles.append(network.get_output_embeddings().register_forward_hook(hook))

    yield change
    for handle in handles:
        handle.remove()


def test_a_token_that_the_tokenizer_does_not_have_reads_as_nothing(toy_task, toy_texts, changed_head):
    # a vocabulary padded beyond the tokenizer's, as Qwen's and Phi's are, of which the head likes one token best
    network = tiny_network("llama")
    network.resize_token_embeddings(416, mean_resizing=False)
    model = tiny_language_model(network.eval().requires_grad_(False))
    assert len(model.tokenizer) < model.vocabulary == 416
    changed_head({415: 1e4}, network)
    labelled = evaluate(model, toy_task.evaluation[:4], toy_task)
    assert [prediction.predicted for prediction in labelled.predictions] == [""] * 4
    assert labelled.metrics()["accuracy"] == 0
    written = evaluate(model, toy_texts.evaluation[:2], toy_texts)
    assert [row["generated"] for row in written.rows()] == [""] * 2


def test_tokens_that_the_head_masks_have_no_probability(tiny_model, toy_task, changed_head):
    rows = toy_task.evaluation[:6]
    labels = {tiny_model.tokenizer(label)["input_ids"][0] for label in toy_task.labels}
    free = evaluate(tiny_model, rows, toy_task).metrics()
    changed_head(dict.fromkeys(sorted(set(range(tiny_model.vocabulary)) - labels), -torch.inf))
    masked = evaluate(tiny_model, rows, toy_task).metrics()
    # the labels compete as they did, and nothing else does
    assert masked["accuracy"] == masked["label_accuracy"] == free["label_accuracy"]
    assert masked["label_ece"] == approx(free["label_ece"], abs=1e-5)
    assert all(np.isfinite(value) for value in masked.values() if isinstance(value, float))
