"""Classification metrics of predictions and probabilities, by scikit-learn.

Bootstrap intervals need the scores of a thousand resamples. They are computed from counts here, because scikit-learn
would take seconds for them. scikit-learn is imported inside functions, so that other commands don't wait for it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ia2.evaluation.metrics import Array, interval_of, resampled_rows

WITHOUT_CLASSES: Mapping[str, None] = dict.fromkeys(
    ("macro_f1", "balanced_accuracy", "nll", "brier", "classes", "confusion")
)
"""The classification metrics of free text, which has no classes: all None."""
MAX_CONFUSION_LABELS = 500
"""Maximum number of labels for a confusion matrix; one of 1,250 labels would exceed the size limit of a record."""


def classification_metrics(
    right: Int[Array, " n"], probabilities: Float[Array, "n labels"], labels: Sequence[str]
) -> dict[str, Any]:
    """Return the classification metrics of a record, each score with its 95 % bootstrap interval.

    The predicted label is the most probable one. The scores are macro-F1 over the labels that occur as the right or the
    predicted label of some row, and balanced accuracy, the mean recall over the labels that are right in some row, both
    in [0, 1]; NLL, the mean of -ln p of the right label, with p clipped at 2.2e-16 as in scikit-learn; and the Brier
    score in [0, 2], the mean over rows of the sum over labels of (p - y)², with y = 1 for the right label and 0 for the
    others.

    Args:
        right: the index of each row's right label.
        probabilities: the probability of each label; each row is normalised to sum to 1.
        labels: the names of the labels.

    Returns:
        The scores and their intervals; under `classes` the precision, recall, F1 and number of rows of each label;
        under `confusion` the confusion matrix, a list of predicted-label counts for each right label, or None for
        more than `MAX_CONFUSION_LABELS` labels.

    Raises:
        ValueError: there are no rows.
    """
    from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support, recall_score

    if len(right) == 0:
        raise ValueError("classification of no rows is not defined")
    probabilities = probabilities.astype(np.float64)
    probabilities = probabilities / probabilities.sum(1, keepdims=True)
    predicted, label_indices = probabilities.argmax(1), range(len(labels))
    scores = {
        "macro_f1": f1_score(right, predicted, average="macro", zero_division=0),
        # equals balanced_accuracy_score, which warns about predicted labels that are never right
        "balanced_accuracy": recall_score(right, predicted, labels=np.unique(right), average="macro", zero_division=0),
        **_probability_scores(right, probabilities),
    }
    measured: dict[str, Any] = {}
    resampled = _resampled_scores(right, predicted, probabilities)
    for name, value in scores.items():
        measured |= {name: float(value), f"{name}_interval": interval_of(resampled[name])}
    by_class = precision_recall_fscore_support(right, predicted, labels=label_indices, zero_division=0)
    measured["classes"] = [
        {"label": label, "precision": float(precision), "recall": float(recall), "f1": float(f1), "n": int(count)}
        for label, precision, recall, f1, count in zip(labels, *by_class, strict=True)
    ]
    if len(labels) > MAX_CONFUSION_LABELS:
        return measured | {"confusion": None}
    # scikit-learn warns about a matrix of a single label
    confusion = confusion_matrix(right, predicted, labels=label_indices).tolist() if len(labels) > 1 else [[len(right)]]
    return measured | {"confusion": confusion}


def _probability_scores(right: Int[Array, " n"], probabilities: Float[Array, "n labels"]) -> dict[str, float]:
    """Return NLL and the Brier score."""
    from sklearn.metrics import brier_score_loss, log_loss

    labels = range(probabilities.shape[1])
    if len(labels) == 1:  # scikit-learn refuses a single label, whose probability is 1
        return {"nll": 0.0, "brier": 0.0}
    return {
        "nll": log_loss(right, probabilities, labels=labels),
        "brier": brier_score_loss(right, probabilities, labels=labels, scale_by_half=False),
    }


def _resampled_scores(
    right: Int[Array, " n"], predicted: Int[Array, " n"], probabilities: Float[Array, "n labels"]
) -> Mapping[str, Float[Array, " resamples"]]:
    """Return the scores of each bootstrap resample, with the resamples that the accuracy interval uses."""
    drawn, labels = resampled_rows(len(right)), probabilities.shape[1]
    p_right = np.take_along_axis(probabilities, right[:, None], 1)[:, 0]
    nll = -np.log(np.maximum(p_right, np.finfo(np.float64).eps))
    brier = (probabilities**2).sum(1) - p_right**2 + (1 - p_right) ** 2
    hits = np.array([np.bincount(right[rows], right[rows] == predicted[rows], labels) for rows in drawn])
    right_counts, predicted_counts = (
        np.array([np.bincount(classes[rows], minlength=labels) for rows in drawn]) for classes in (right, predicted)
    )
    occurring = right_counts + predicted_counts
    return {
        "macro_f1": (2 * hits / np.maximum(occurring, 1)).sum(1) / (occurring > 0).sum(1),
        "balanced_accuracy": (hits / np.maximum(right_counts, 1)).sum(1) / (right_counts > 0).sum(1),
        "nll": np.array([nll[rows].mean() for rows in drawn]),
        "brier": np.array([brier[rows].mean() for rows in drawn]),
    }
