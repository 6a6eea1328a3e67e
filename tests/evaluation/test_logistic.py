from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from ia2.errors import InputError
from ia2.evaluation.logistic import INVERSE_PENALTIES, LogisticClassifier, hidden_states
from ia2.tasks.task import Example


def test_hidden_states_are_those_of_one_prompt_at_a_time(tiny_model, toy_task):
    rows = toy_task.evaluation[:5]
    for row, state in zip(rows, hidden_states(tiny_model, toy_task, rows), strict=True):
        ids = torch.tensor([tiny_model.tokenizer(row.query)["input_ids"]])
        kept = []
        last = tiny_model.network.model.layers[-1]
        hook = last.register_forward_hook(lambda *call: kept.append(call[-1]))
        with torch.no_grad():
            tiny_model.network(ids)
        hook.remove()
        expected = kept[0][0] if isinstance(kept[0], tuple) else kept[0]
        assert state == pytest.approx(expected.reshape(-1, 32)[-1].double().numpy(), abs=1e-4)


def test_hidden_states_are_standardised_over_training_rows_alone(tiny_model, toy_task):
    train, rows = toy_task.pool[:8], toy_task.evaluation[:6]
    ours = LogisticClassifier.fit("hidden", tiny_model, toy_task, train, ()).evaluate(rows)
    inputs, measured = (hidden_states(tiny_model, toy_task, part) for part in (train, rows))
    mean, deviation = inputs.mean(0), inputs.std(0)
    right = [toy_task.labels.index(row.response) for row in train]
    regression = LogisticRegression(max_iter=10_000).fit((inputs - mean) / deviation, right)
    assert ours.probabilities == pytest.approx(regression.predict_proba((measured - mean) / deviation), abs=1e-5)


def test_the_dev_rows_choose_the_penalty(tiny_model, toy_task):
    train, dev = toy_task.pool[:12], toy_task.pool[12:20]
    chosen = LogisticClassifier.fit("tfidf", tiny_model, toy_task, train, dev)
    counts = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit([row.query for row in train])
    right = np.array([toy_task.labels.index(row.response) for row in dev])
    losses = {}
    for penalty in INVERSE_PENALTIES:
        regression = LogisticRegression(C=penalty, max_iter=10_000)
        regression.fit(counts.transform([row.query for row in train]), [int(row.response) for row in train])
        shares = regression.predict_proba(counts.transform([row.query for row in dev]))
        losses[penalty] = -np.log(shares[np.arange(len(dev)), right]).mean()
    assert chosen.inverse_penalty == min(losses, key=losses.get)
    predictions = chosen.evaluate(dev).predictions
    for prediction, label in zip(predictions, right, strict=True):
        assert prediction.correct is (prediction.label_probabilities[label] > 0.5)


def test_rows_of_one_label_are_all_answered_with_it(tiny_model, toy_task):
    train = [row for row in toy_task.pool if row.response == "1"][:3]
    evaluation = LogisticClassifier.fit("hidden", tiny_model, toy_task, train, ()).evaluate(toy_task.evaluation[:4])
    assert {row.predicted for row in evaluation.predictions} == {"1"}
    assert evaluation.probabilities.tolist() == [[0.0, 1.0]] * 4


def test_a_label_that_no_training_row_has_is_impossible(tiny_model, toy_task):
    task = replace(toy_task, labels=("0", "new", "1"))
    classifier = LogisticClassifier.fit("tfidf", tiny_model, task, task.pool[:10], ())
    shares = classifier.evaluate(task.evaluation).probabilities
    assert (shares[:, 1] == 0).all()
    assert shares.sum(1) == pytest.approx(1)


def test_a_text_longer_than_the_context_is_refused(tiny_model, toy_task):
    rows = [Example("Text:" + "cold " * 600 + "\nLabel:", "1")]
    with pytest.raises(InputError, match="the model reads 512"):
        hidden_states(tiny_model, toy_task, rows)
