"""How well a model tells classes apart: scores of its answers and of its probabilities, by scikit-learn.

Intervals need the scores of a thousand resamples, which are computed from counts here, as scikit-learn would take
seconds for them. It is imported where it is needed, since no other command should wait for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ia2.evaluation.metrics import Array, interval_of, resampled_rows

WITHOUT_CLASSES: Mapping[str, None] = dict.fromkeys(
    ("macro_f1", "balanced_accuracy", "nll", "brier", "classes", "confusion")
)
"""The same of free text, which has no classes."""
MOST_CONFUSED = 500
"""Labels up to which there is a confusion matrix: that of 1,250 makes a record larger than any may be."""


def classification_metrics(
    right: Int[Array, " n"], probabilities: Float[Array, "n labels"], labels: Sequence[str]
) -> dict[str, Any]:
    """What a record says of classes, each score with its 95 % bootstrap interval.

    The answer is the likeliest label. Scores are macro-F1 over the labels that are right or an answer in some row, and
    balanced accuracy, the mean recall of the labels that are right in some row, both in [0, 1]; NLL, the mean of
    -ln p of the right label, a p of 0 counting as 2.2e-16, as scikit-learn has it; and the Brier score, the mean over
    rows of the sum over labels of (p - y)², with y of 1 for the right label and 0 for the others, in [0, 2].

    Args:
        right: the index of each row's right label.
        probabilities: of each label among them; a row's are normalised to a sum of 1.
        labels: their names.

    Returns:
        The scores and their intervals; under `classes` precision, recall, F1 and rows of each label; under `confusion`
        how many rows of each label, a list for each, were answered with each, None of more than `MOST_CONFUSED` labels.

    Raises:
        ValueError: there are no rows.
    """
    from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support, recall_score

    if len(right) == 0:
        raise ValueError("classification of no rows is not defined")
    probabilities = probabilities.astype(np.float64)
    probabilities = probabilities / probabilities.sum(1, keepdims=True)
    answers, every = probabilities.argmax(1), range(len(labels))
    scores = {
        "macro_f1": f1_score(right, answers, average="macro", zero_division=0),
        # balanced_accuracy_score, which warns of answers that are never right
        "balanced_accuracy": recall_score(right, answers, labels=np.unique(right), average="macro", zero_division=0),
        **_probability_scores(right, probabilities),
    }
    measured: dict[str, Any] = {}
    resampled = _resampled_scores(right, answers, probabilities)
    for name, value in scores.items():
        measured |= {name: float(value), f"{name}_interval": interval_of(resampled[name])}
    by_class = precision_recall_fscore_support(right, answers, labels=every, zero_division=0)
    measured["classes"] = [
        {"label": label, "precision": float(precision), "recall": float(recall), "f1": float(f1), "n": int(count)}
        for label, precision, recall, f1, count in zip(labels, *by_class, strict=True)
    ]
    if len(labels) > MOST_CONFUSED:
        return measured | {"confusion": None}
    # scikit-learn warns of a table of one label
    confusion = confusion_matrix(right, answers, labels=every).tolist() if len(labels) > 1 else [[len(right)]]
    return measured | {"confusion": confusion}


def _probability_scores(right: Int[Array, " n"], probabilities: Float[Array, "n labels"]) -> dict[str, float]:
    """NLL and the Brier score."""
    from sklearn.metrics import brier_score_loss, log_loss

    labels = range(probabilities.shape[1])
    if len(labels) == 1:  # nothing is uncertain, which scikit-learn refuses
        return {"nll": 0.0, "brier": 0.0}
    return {
        "nll": log_loss(right, probabilities, labels=labels),
        "brier": brier_score_loss(right, probabilities, labels=labels, scale_by_half=False),
    }


def _resampled_scores(
    right: Int[Array, " n"], answers: Int[Array, " n"], probabilities: Float[Array, "n labels"]
) -> Mapping[str, Float[Array, " resamples"]]:
    """The same scores of rows drawn with replacement, as often as for the interval of accuracy."""
    drawn, labels = resampled_rows(len(right)), probabilities.shape[1]
    p_right = np.take_along_axis(probabilities, right[:, None], 1)[:, 0]
    nll = -np.log(np.maximum(p_right, np.finfo(np.float64).eps))
    brier = (probabilities**2).sum(1) - p_right**2 + (1 - p_right) ** 2
    hits = np.array([np.bincount(right[rows], right[rows] == answers[rows], labels) for rows in drawn])
    of_label, answered = (
        np.array([np.bincount(classes[rows], minlength=labels) for rows in drawn]) for classes in (right, answers)
    )
    occurring = of_label + answered
    return {
        "macro_f1": (2 * hits / np.maximum(occurring, 1)).sum(1) / (occurring > 0).sum(1),
        "balanced_accuracy": (hits / np.maximum(of_label, 1)).sum(1) / (of_label > 0).sum(1),
        "nll": np.array([nll[rows].mean() for rows in drawn]),
        "brier": np.array([brier[rows].mean() for rows in drawn]),
    }
