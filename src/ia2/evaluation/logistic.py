"""Logistic regression on a few labelled rows, a baseline to try before adapting a network.

Its features are the frozen network's last hidden state, or TF-IDF weights of the query's words.
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
"""Candidate values of scikit-learn's C; the one with the lowest dev NLL is used."""
RESIDUAL = Site("residual")


@dataclass(frozen=True)
class LogisticClassifier:
    """A fitted logistic regression.

    Example:
        >>> classifier = LogisticClassifier.fit("tfidf", model, task, task.pool[:8], task.pool[8:12])
        >>> classifier.evaluate(task.evaluation[:4]).metrics()["n"]
        4
    """

    features: Features
    model: LanguageModel
    task: Task
    pipeline: Any
    """scikit-learn pipeline of a scaler or vectorizer, and the regression."""
    inverse_penalty: float
    """The chosen C."""

    @classmethod
    def fit(
        cls, features: Features, model: LanguageModel, task: Task, train: Sequence[Example], dev: Sequence[Example]
    ) -> "LogisticClassifier":
        """Fit a regression for each penalty and return the one with the lowest NLL on the dev rows.

        Args:
            features: `hidden` for the residual stream after the last layer at the last token of the prompt, each
                dimension standardised over the training rows; `tfidf` for the TF-IDF weights of the query's words.
            model: the frozen model.
            task: the task of the rows.
            train: rows to fit on.
            dev: rows that select the penalty, the strongest in case of a tie; without any, C is 1.
        """
        inputs, right = _inputs(features, model, task, train), _label_indices(task, train)
        if len(set(right.tolist())) == 1:
            from sklearn.dummy import DummyClassifier

            return cls(features, model, task, DummyClassifier(strategy="prior").fit(inputs, right), 1.0)
        dev_inputs = _inputs(features, model, task, dev) if dev else []
        fitted = []
        for inverse_penalty in INVERSE_PENALTIES if dev else (1.0,):
            pipeline = _pipeline(features, inverse_penalty).fit(inputs, right)
            classifier = cls(features, model, task, pipeline, inverse_penalty)
            loss = 0.0
            if dev:
                label_probabilities = classifier.probabilities(dev_inputs)[
                    np.arange(len(dev)), _label_indices(task, dev)
                ]
                loss = float(-np.log(np.maximum(label_probabilities, np.finfo(np.float64).eps)).mean())
            fitted.append((loss, inverse_penalty, classifier))
        return min(fitted, key=lambda attempt: attempt[:2])[2]

    def probabilities(self, inputs: Any) -> Float[Array, "n labels"]:
        """Return the probability of each of the task's labels; 0 for a label without a training row."""
        label_probabilities = np.zeros((len(inputs), len(self.task.labels)))
        label_probabilities[:, self.pipeline.classes_] = self.pipeline.predict_proba(inputs)
        return label_probabilities

    def evaluate(self, examples: Sequence[Example]) -> LabelEvaluation:
        """Predict rows of this task, or of another task with the same labels.

        Args:
            examples: the rows.
        """
        label_probabilities = self.probabilities(_inputs(self.features, self.model, self.task, examples))
        rows = []
        for example, row_probabilities in zip(examples, label_probabilities.tolist(), strict=True):
            confidence = max(row_probabilities)
            label = self.task.labels[row_probabilities.index(confidence)]
            answer = (label, confidence, label == example.response)
            rows.append(Prediction(example.query, example.response, *answer, *answer, tuple(row_probabilities)))
        return LabelEvaluation(tuple(rows), "whole", self.task.labels)


def _pipeline(features: Features, inverse_penalty: float) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # unlike the default pattern, this one includes words of one letter
    scale = StandardScaler() if features == "hidden" else TfidfVectorizer(token_pattern=r"(?u)\b\w+\b")
    return make_pipeline(scale, LogisticRegression(C=inverse_penalty, max_iter=10_000))


def _inputs(features: Features, model: LanguageModel, task: Task, examples: Sequence[Example]) -> Any:
    """Return the pipeline's inputs for rows: hidden states (n, hidden), or the queries."""
    if features == "tfidf":
        return [str(example.query) for example in examples]
    return hidden_states(model, task, examples)


def hidden_states(model: LanguageModel, task: Task, examples: Sequence[Example]) -> Float[Array, "n hidden"]:
    """Return the residual stream after the last layer at the last token of each row's zero-shot prompt.

    Args:
        model: the frozen model.
        task: the task of the rows.
        examples: the rows; their responses are not read.

    Raises:
        InputError: a prompt is longer than the model's context.
    """
    tokenizer = PromptTokenizer.of(model, task)
    sequences = [tokenizer.checked(TokenSequence(tokenizer.asked(row.query), (0,)), row.query) for row in examples]
    read = Reader(model.network).with_common_prefix(sequences).activations(sequences, [RESIDUAL])
    states: Array = np.stack([activations[RESIDUAL][0, -1].double().cpu().numpy() for activations in read])
    return states


def _label_indices(task: Task, examples: Sequence[Example]) -> Int[Array, " n"]:
    return np.array([task.labels.index(example.response) for example in examples], dtype=np.int64)
