"""In-context answers with the prompt's own preference for some labels taken out: contextual and batch calibration.

Both are an affine map of the labels' probabilities and a softmax, softmax(W p + b), of which their papers use the
likeliest label. The softmax of numbers of about 1 is never sure, so that temperature scaling belongs to it.
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
"""Texts that say nothing (Zhao et al. 2021, section 5)."""


def contextual(
    probabilities: Float[Array, "n labels"], content_free: Float[Array, "queries labels"]
) -> Float[Array, "n labels"]:
    """Contextual calibration: W = diag(p_cf)⁻¹ and b = 0 (Zhao et al. 2021, section 5).

    Args:
        probabilities: of each label among them, in context.
        content_free: the same behind the same demonstrations, for queries that say nothing; p_cf is their mean.

    Example:
        >>> contextual(np.array([[0.8, 0.2]]), np.array([[0.8, 0.2]])).tolist()  # 0.8 as where nothing is said
        [[0.5, 0.5]]
    """
    return _softmax(probabilities / np.maximum(content_free.mean(0), LEAST_PROBABILITY))


def batch(
    probabilities: Float[Array, "n labels"], others: Float[Array, "rows labels"] | None = None
) -> Float[Array, "n labels"]:
    """Batch calibration: W = I and b = -p̄, the mean over a batch of queries (Zhou et al. 2024, equations 3 and 4).

    Args:
        probabilities: of each label among them, in context.
        others: those of the batch; by default the same ones.

    Example:
        >>> batch(np.array([[0.9, 0.1], [0.7, 0.3]])).argmax(1).tolist()
        [0, 1]
    """
    return _softmax(probabilities - (probabilities if others is None else others).mean(0))


def content_free_rows(task: Task) -> tuple[Example, ...]:
    """Queries of a task's form that say nothing, with any label: what all its queries begin and end with stays.

    Args:
        task: one whose responses are labels.
    """
    queries = [str(row.query) for row in (*task.pool, *task.evaluation)]
    head = _common_start(queries)
    tail = _common_start([query[len(head) :][::-1] for query in queries])[::-1]
    # what texts have in common by chance isn't the form's: letters beside them go
    head = head[: len(head) - _letters(head[::-1])]
    tail = tail[_letters(tail) :]
    return tuple(Example(f"{head}{text}{tail}", task.labels[0]) for text in CONTENT_FREE)


def recalibrated(evaluation: LabelEvaluation, probabilities: Float[Array, "n labels"]) -> LabelEvaluation:
    """The same rows answered by other probabilities of the labels: the likeliest label is the answer.

    Args:
        evaluation: what was answered.
        probabilities: of each label among them, for each row.
    """
    rows = []
    for row, shares in zip(evaluation.predictions, probabilities.tolist(), strict=True):
        confidence = max(shares)
        label = evaluation.labels[shares.index(confidence)]
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
                label_probabilities=tuple(shares),
            )
        )
    return replace(evaluation, predictions=tuple(rows))


def _common_start(texts: Sequence[str]) -> str:
    """What all texts begin with."""
    first, last = min(texts), max(texts)
    same = (left == right for left, right in zip(first, last, strict=False))
    return first[: next((index for index, alike in enumerate(same) if not alike), len(first))]


def _letters(text: str) -> int:
    """How many letters and digits a text begins with."""
    return next((index for index, character in enumerate(text) if not character.isalnum()), len(text))


def _softmax(scores: Float[Array, "n labels"]) -> Float[Array, "n labels"]:
    odds: Array = np.exp(scores - scores.max(1, keepdims=True))
    shares: Array = odds / odds.sum(1, keepdims=True)
    return shares
