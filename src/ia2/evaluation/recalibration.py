"""Contextual and batch calibration, which remove the prompt's bias towards some labels from in-context answers.

Both apply an affine map and a softmax to the labels' probabilities: softmax(W p + b). Their papers use only the most
probable label of the result. A softmax of numbers of about 1 is underconfident, so temperature scaling should follow.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from ia2.evaluation.labels import LabelEvaluation
from ia2.evaluation.metrics import Array
from ia2.evaluation.temperature import LEAST_PROBABILITY
from ia2.tasks.task import Example, Task

CONTENT_FREE = ("N/A", "", "[MASK]")
"""Content-free texts (Zhao et al. 2021, section 5)."""


def contextual(
    probabilities: Float[Array, "n labels"], content_free: Float[Array, "queries labels"]
) -> Float[Array, "n labels"]:
    """Apply contextual calibration: W = diag(p_cf)⁻¹ and b = 0 (Zhao et al. 2021, section 5).

    Args:
        probabilities: in-context probability of each label, normalised over the labels.
        content_free: the same for content-free queries after the same demonstrations; p_cf is their mean.

    Example:
        >>> contextual(np.array([[0.8, 0.2]]), np.array([[0.8, 0.2]])).tolist()  # 0.8 as where nothing is said
        [[0.5, 0.5]]
    """
    return _softmax(probabilities / np.maximum(content_free.mean(0), LEAST_PROBABILITY))


def batch(
    probabilities: Float[Array, "n labels"], others: Float[Array, "rows labels"] | None = None
) -> Float[Array, "n labels"]:
    """Apply batch calibration: W = I and b = -p̄, the mean over a batch (Zhou et al. 2024, equations 3 and 4).

    Args:
        probabilities: in-context probability of each label, normalised over the labels.
        others: probabilities of the batch; by default `probabilities`.

    Example:
        >>> batch(np.array([[0.9, 0.1], [0.7, 0.3]])).argmax(1).tolist()
        [0, 1]
    """
    return _softmax(probabilities - (probabilities if others is None else others).mean(0))


def content_free_rows(task: Task) -> tuple[Example, ...]:
    """Return content-free queries in the task's format, with an arbitrary label.

    The format is the prefix and suffix that all queries of the task share.

    Args:
        task: a task with labels.
    """
    queries = [str(row.query) for row in (*task.pool, *task.evaluation)]
    head = _common_prefix(queries)
    tail = _common_prefix([query[len(head) :][::-1] for query in queries])[::-1]
    # letters that the texts share by chance at their ends are not part of the format
    head = head[: len(head) - _leading_letters(head[::-1])]
    tail = tail[_leading_letters(tail) :]
    return tuple(Example(f"{head}{text}{tail}", task.labels[0]) for text in CONTENT_FREE)


def recalibrated(evaluation: LabelEvaluation, probabilities: Float[Array, "n labels"]) -> LabelEvaluation:
    """Return the evaluation with other label probabilities, predicting the most probable label.

    Args:
        evaluation: the original evaluation.
        probabilities: new probability of each label for each row, normalised over the labels.
    """
    rows = []
    for row, row_probabilities in zip(evaluation.predictions, probabilities.tolist(), strict=True):
        confidence = max(row_probabilities)
        label = evaluation.labels[row_probabilities.index(confidence)]
        correct = label == row.response
        rows.append(
            replace(
                row,
                predicted=label,
                confidence=confidence,
                correct=correct,
                label_predicted=label,
                label_confidence=confidence,
                label_correct=correct,
                label_probabilities=tuple(row_probabilities),
            )
        )
    return replace(evaluation, predictions=tuple(rows))


def _common_prefix(texts: Sequence[str]) -> str:
    """Return the longest common prefix of texts."""
    first, last = min(texts), max(texts)
    same = (left == right for left, right in zip(first, last, strict=False))
    return first[: next((index for index, alike in enumerate(same) if not alike), len(first))]


def _leading_letters(text: str) -> int:
    """Return the number of letters and digits at the start of a text."""
    return next((index for index, character in enumerate(text) if not character.isalnum()), len(text))


def _softmax(scores: Float[Array, "n labels"]) -> Float[Array, "n labels"]:
    exponentials: Array = np.exp(scores - scores.max(1, keepdims=True))
    probabilities: Array = exponentials / exponentials.sum(1, keepdims=True)
    return probabilities
