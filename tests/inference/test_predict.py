from dataclasses import replace

import pytest
import torch
from conftest import tiny_network

from ia2.adapters.adapter import attached, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.errors import InputError
from ia2.inference.predict import predict
from ia2.prompting.prompts import PromptTokenizer

QUERIES = [
    f"Text:{text}\nLabel:"
    for text in ("warm", "a long and cold film that never ends", "funny", "dull and slow", "warm")
]


@pytest.fixture
def own(toy_task):
    """The toy task as a person's file has it, without its rows."""
    labels = (*toy_task.labels, " not so good")
    return replace(toy_task, labels=labels, pool=(), evaluation=(), as_written=True)


def changed_adapter(model):
    """An adapter that does something."""
    adapter = fresh_adapter(model.network, LoRA(rank=2).configuration(model.network), seed=0)
    noise = torch.Generator().manual_seed(1)
    weights = {name: torch.randn(tensor.shape, generator=noise) for name, tensor in adapter.weights.items()}
    return replace(adapter, weights=weights)


def label_probabilities(model, network, task, query, shown=""):
    """Of each label among them, one plain forward pass a label."""
    tokenizer = PromptTokenizer.of(model, task)
    scores = []
    for label in task.labels:
        prompt = tokenizer.prompt(shown + query)
        response = tokenizer.response(query, label)
        with torch.no_grad():
            logits = network(torch.tensor([[*prompt, *response]])).logits[0].log_softmax(-1)
        scores.append(sum(logits[len(prompt) - 1 + step, token] for step, token in enumerate(response)))
    return torch.stack(scores).softmax(-1).tolist()


@pytest.mark.parametrize("at_once", [1, 2, 256])
def test_labels_have_the_probabilities_of_plain_passes_and_answers_come_in_order(tiny_model, own, at_once):
    adapter = changed_adapter(tiny_model)
    answers = list(predict(tiny_model, own, iter(QUERIES), adapter=adapter, at_once=at_once))
    with attached(tiny_model.network, adapter) as network:
        expected = [label_probabilities(tiny_model, network, own, query) for query in QUERIES]
    assert len({answer.prediction for answer in answers}) > 1
    for answer, probabilities in zip(answers, expected, strict=True):
        assert list(answer.probabilities) == [label.strip() for label in own.labels]
        assert list(answer.probabilities.values()) == pytest.approx(probabilities, abs=1e-5)
        best = max(range(len(own.labels)), key=probabilities.__getitem__)
        assert (answer.prediction, answer.confidence) == (
            own.labels[best].strip(), answer.probabilities[own.labels[best].strip()]
        )  # fmt: skip


def test_what_is_shown_stands_before_every_text(tiny_model, own, toy_task):
    shown = toy_task.pool[:2]
    (answer,) = predict(tiny_model, own, ["Text:warm\nLabel:"], demonstrations=shown)
    before = "".join(f"{row.query}{row.response}\n\n" for row in shown)
    expected = label_probabilities(tiny_model, tiny_model.network, own, "Text:warm\nLabel:", before)
    assert list(answer.probabilities.values()) == pytest.approx(expected, abs=1e-5)


def test_free_text_is_what_transformers_generates(tiny_model, toy_texts):
    task = replace(toy_texts, pool=(), evaluation=(), stop=None, max_new_tokens=7)
    answers = list(predict(tiny_model, task, QUERIES[:3], at_once=2))
    tokenizer = PromptTokenizer.of(tiny_model, task)
    for query, answer in zip(QUERIES, answers, strict=False):
        prompt = tokenizer.asked(query)
        out = tiny_model.network.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=7, pad_token_id=0,
            eos_token_id=sorted(tiny_model.end_tokens),
        )  # fmt: skip
        assert answer.prediction == tokenizer.continuation(prompt, out[0, len(prompt) :].tolist())
        assert (answer.confidence, answer.probabilities) == (None, None)


def test_nothing_is_asked_of_no_texts(tiny_model, own):
    assert list(predict(tiny_model, own, [])) == []


def test_a_text_that_is_too_long_and_an_adapter_of_another_model_are_refused(tiny_model, own):
    answers = predict(tiny_model, own, ["warm", "long " * 5000], at_once=1)
    assert next(answers).prediction in {label.strip() for label in own.labels}
    with pytest.raises(InputError, match="'long long .*: prompt and response are"):
        next(answers)
    network = tiny_network("gpt2")
    other = fresh_adapter(network, LoRA(rank=2).configuration(network), seed=0)
    with pytest.raises(InputError, match="the adapter doesn't fit this model"):
        list(predict(tiny_model, own, QUERIES, adapter=other))
