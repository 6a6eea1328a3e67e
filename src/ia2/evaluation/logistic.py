"""Logistic regression on a few labelled rows, as one would try before adapting a network.

What it is told of a row is the frozen network's last hidden state, or the words of the query.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from ia2.evaluation.labels import LabelEvaluation, Prediction
from ia2.evaluation.metrics import Array
from ia2.models.load import LanguageModel
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import Site
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Example, Task

Features = Literal["hidden", "tfidf"]
INVERSE_PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
"""scikit-learn's C: those that are tried, of which the dev rows choose as they choose learning rates."""
RESIDUAL = Site("residual")


@dataclass(frozen=True)
class LogisticClassifier:
    """A logistic regression that was fitted to some rows.

    Example:
        >>> classifier = LogisticClassifier.fit("tfidf", model, task, task.pool[:8], task.pool[8:12])
        >>> classifier.evaluate(task.evaluation[:4]).metrics()["n"]
        4
    """

    features: Features
    model: LanguageModel
    task: Task
    pipeline: Any
    """scikit-learn's: what scales or counts, and then the regression."""
    inverse_penalty: float
    """The C that was chosen."""

    @classmethod
    def fit(
        cls, features: Features, model: LanguageModel, task: Task, train: Sequence[Example], dev: Sequence[Example]
    ) -> "LogisticClassifier":
        """Fit a regression for each penalty, and keep the one that has the least NLL on the dev rows.

        Args:
            features: `hidden` for the residual stream behind the last layer at the last token of the prompt, each
                number standardised over the training rows; `tfidf` for words of the query, rare ones weighing more.
            model: the frozen model.
            task: the task of the rows.
            train: rows that are fitted.
            dev: rows that choose the penalty; without any, C is 1. Of equally good ones the strongest is taken.
        """
        inputs, right = _inputs(features, model, task, train), _right(task, train)
        if len(set(right.tolist())) == 1:
            from sklearn.dummy import DummyClassifier

            return cls(features, model, task, DummyClassifier(strategy="prior").fit(inputs, right), 1.0)
        dev_inputs = _inputs(features, model, task, dev) if dev else []
        tried = []
        for inverse_penalty in INVERSE_PENALTIES if dev else (1.0,):
            pipeline = _pipeline(features, inverse_penalty).fit(inputs, right)
            classifier = cls(features, model, task, pipeline, inverse_penalty)
            loss = 0.0
            if dev:
                shares = classifier.probabilities(dev_inputs)[np.arange(len(dev)), _right(task, dev)]
                loss = float(-np.log(np.maximum(shares, np.finfo(np.float64).eps)).mean())
            tried.append((loss, inverse_penalty, classifier))
        return min(tried, key=lambda attempt: attempt[:2])[2]

    def probabilities(self, inputs: Any) -> Float[Array, "n labels"]:
        """The probability of each of the task's labels; a label without a training row has 0."""
        shares = np.zeros((len(inputs), len(self.task.labels)))
        shares[:, self.pipeline.classes_] = self.pipeline.predict_proba(inputs)
        return shares

    def evaluate(self, examples: Sequence[Example]) -> LabelEvaluation:
        """What it answers to rows of its task, or of another task with the same labels.

        Args:
            examples: the rows.
        """
        shares = self.probabilities(_inputs(self.features, self.model, self.task, examples))
        rows = []
        for example, row_shares in zip(examples, shares.tolist(), strict=True):
            confidence = max(row_shares)
            label = self.task.labels[row_shares.index(confidence)]
            answer = (label, confidence, label == example.response)
            rows.append(Prediction(example.query, example.response, *answer, *answer, tuple(row_shares)))
        return LabelEvaluation(tuple(rows), "whole", self.task.labels)


def _pipeline(features: Features, inverse_penalty: float) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # words of one letter count too
    scale = StandardScaler() if features == "hidden" else TfidfVectorizer(token_pattern=r"(?u)\b\w+\b")
    return make_pipeline(scale, LogisticRegression(C=inverse_penalty, max_iter=10_000))


def _inputs(features: Features, model: LanguageModel, task: Task, examples: Sequence[Example]) -> Any:
    """What the regression is told of rows: (n, hidden), or their queries."""
    if features == "tfidf":
        return [str(example.query) for example in examples]
    return hidden_states(model, task, examples)


def hidden_states(model: LanguageModel, task: Task, examples: Sequence[Example]) -> Float[Array, "n hidden"]:
    """The residual stream behind the last layer at the last token of each row's prompt, without demonstrations.

    Args:
        model: the frozen model.
        task: the task of the rows.
        examples: the rows, whose responses aren't read.

    Raises:
        InputError: a prompt is longer than the model's context.
    """
    tokenizer = PromptTokenizer.of(model, task)
    sequences = [tokenizer.checked(TokenSequence(tokenizer.asked(row.query), (0,)), row.query) for row in examples]
    read = Reader(model.network).behind_common_tokens(sequences).activations(sequences, [RESIDUAL])
    states: Array = np.stack([activations[RESIDUAL][0, -1].double().cpu().numpy() for activations in read])
    return states


def _right(task: Task, examples: Sequence[Example]) -> Int[Array, " n"]:
    return np.array([task.labels.index(example.response) for example in examples], dtype=np.int64)
