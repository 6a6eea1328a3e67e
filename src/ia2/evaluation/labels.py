"""Predictions on label tasks, and their metrics."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from ia2.evaluation.classification import classification_metrics
from ia2.evaluation.metrics import Binning, accuracy, bootstrap_interval, expected_calibration_error
from ia2.evaluation.temperature import scaled
from ia2.inference.label_scoring import LabelScoring


@dataclass(frozen=True)
class Prediction:
    """The prediction for one query."""

    query: str
    response: str
    """The right answer."""
    predicted: str
    """The most probable next token in the vocabulary, or the most probable whole label."""
    confidence: float
    """Probability of `predicted`, in [0, 1]."""
    correct: bool
    """Whether `predicted` is the token, or the whole label, of the right answer."""
    label_predicted: str
    """The most probable label."""
    label_confidence: float
    """Probability of `label_predicted` among the labels, in [0, 1]."""
    label_correct: bool
    label_probabilities: tuple[float, ...]
    """Probability of each label, normalised over the labels, in the order of the task's labels."""


@dataclass(frozen=True)
class LabelEvaluation:
    """Predictions of one adapter or baseline, in the order of the rows."""

    predictions: tuple[Prediction, ...]
    label_scoring: LabelScoring
    labels: tuple[str, ...]
    """The labels, in the order of each prediction's `label_probabilities`."""

    def metrics(self, binning: Binning = "equal-width") -> dict[str, Any]:
        """Return accuracy and ECE over the vocabulary and among the labels, and `classification_metrics`.

        Each score comes with its 95 % interval.

        Raises:
            ValueError: there are no predictions.
        """
        values: dict[str, Any] = {"n": len(self.predictions), "ece_binning": binning}
        for prefix in ("", "label_"):
            confidence = np.array([getattr(row, f"{prefix}confidence") for row in self.predictions])
            correct = np.array([getattr(row, f"{prefix}correct") for row in self.predictions])
            values |= _with_intervals(prefix, confidence, correct, binning)
        return values | classification_metrics(self.right, self.probabilities, self.labels)

    def scaled_metrics(self, temperature: float, binning: Binning = "equal-width") -> dict[str, Any]:
        """Return ECE, NLL and Brier score among the labels after temperature scaling, each with its 95 % interval.

        Raises:
            ValueError: there are no predictions.
        """
        probabilities = scaled(self.probabilities, temperature)
        # stored, because rescaled ties could be broken differently; the prediction is the same at every temperature
        correct = np.array([row.label_correct for row in self.predictions])
        calibration = _with_intervals("label_", probabilities.max(1), correct, binning)
        scores = classification_metrics(self.right, probabilities, self.labels)
        values: dict[str, Any] = {"temperature": temperature}
        for name, value in (("ece", "label_ece"), ("nll", "nll"), ("brier", "brier")):
            measured = calibration | scores
            values |= {f"scaled_{name}": measured[value], f"scaled_{name}_interval": measured[f"{value}_interval"]}
        return values

    @property
    def right(self) -> Int[ndarray[Any, Any], " n"]:
        """Index of each row's right label."""
        return np.array([self.labels.index(row.response) for row in self.predictions], dtype=np.int64)

    @property
    def probabilities(self) -> Float[ndarray[Any, Any], "n labels"]:
        """Probability of each label, normalised over the labels."""
        shares = [row.label_probabilities for row in self.predictions]
        return np.array(shares, dtype=np.float64).reshape(len(shares), len(self.labels))

    def rows(self) -> list[dict[str, Any]]:
        """Return the predictions as dictionaries, the lines of the predictions file beside a record."""
        return [asdict(prediction) for prediction in self.predictions]


def _with_intervals(prefix: Literal["", "label_"], confidence: Any, correct: Any, binning: Binning) -> dict[str, Any]:
    def ece(confidence: Any, correct: Any) -> float:
        return expected_calibration_error(confidence, correct, binning=binning)

    return {
        f"{prefix}accuracy": accuracy(correct),
        f"{prefix}accuracy_interval": bootstrap_interval(accuracy, correct),
        f"{prefix}ece": ece(confidence, correct),
        f"{prefix}ece_interval": bootstrap_interval(ece, confidence, correct),
    }
