"""Accuracy, calibration, bootstrap intervals and cosine similarity of arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from numpy import ndarray
from torch import Tensor

from ia2.randomness import derived_seed

Array = ndarray[Any, np.dtype[Any]]
Binning = Literal["equal-width", "equal-mass"]
BINS = 15
RESAMPLES = 1000


@dataclass(frozen=True)
class ReliabilityBins:
    """Rows grouped by confidence; an empty bin has a mean confidence and an accuracy of 0."""

    count: Int[Array, " bins"]
    confidence: Float[Array, " bins"]
    """Mean confidence of each bin."""
    accuracy: Float[Array, " bins"]
    """Accuracy of each bin."""

    @property
    def expected_error(self) -> float:
        """ECE: the mean over rows of their bin's |accuracy - confidence| (Guo et al. 2017, equation 3)."""
        return float((self.count * np.abs(self.accuracy - self.confidence)).sum() / self.count.sum())


def reliability_bins(
    confidence: Float[Array, " n"],
    correct: Bool[Array, " n"],
    *,
    bins: int = BINS,
    binning: Binning = "equal-width",
) -> ReliabilityBins:
    """Group rows by confidence, as for a reliability diagram.

    Args:
        confidence: probability of the predicted token, each in [0, 1].
        correct: whether the prediction is right.
        bins: number of bins.
        binning: "equal-width" divides [0, 1] evenly; a bin includes its upper edge and not its lower one, except that
            the first includes 0. "equal-mass" sorts the rows by confidence, with ties in row order, and divides them
            into bins of floor(n / bins) rows, the last one taking the remainder (the published IA2 scripts); if there
            are fewer rows than bins, all are in the last bin.

    Raises:
        ValueError: there are no rows, or a confidence lies outside [0, 1].
    """
    if len(confidence) == 0:
        raise ValueError("calibration of no rows is not defined")
    if not ((confidence >= 0) & (confidence <= 1)).all():
        raise ValueError("a confidence lies outside [0, 1]")
    if binning == "equal-width":
        index = np.clip(np.ceil(confidence.astype(np.float64) * bins).astype(np.int64) - 1, 0, bins - 1)
    else:
        index = np.empty(len(confidence), dtype=np.int64)
        rank = np.arange(len(confidence)) // max(len(confidence) // bins, 1)
        slices = np.minimum(rank, bins - 1) if len(confidence) >= bins else np.full(len(confidence), bins - 1)
        index[np.argsort(confidence, kind="stable")] = slices
    count = np.bincount(index, minlength=bins)
    divisor = np.maximum(count, 1)
    return ReliabilityBins(
        count,
        np.bincount(index, weights=confidence, minlength=bins) / divisor,
        np.bincount(index, weights=correct, minlength=bins) / divisor,
    )


def expected_calibration_error(
    confidence: Float[Array, " n"],
    correct: Bool[Array, " n"],
    *,
    bins: int = BINS,
    binning: Binning = "equal-width",
) -> float:
    """Return the expected calibration error, in [0, 1] (Guo et al. 2017, equation 3).

    Arguments and errors are those of `reliability_bins`.
    """
    return reliability_bins(confidence, correct, bins=bins, binning=binning).expected_error


def accuracy(correct: Bool[Array, " n"]) -> float:
    """Return the share of correct rows, in [0, 1].

    Raises:
        ValueError: there are no rows.
    """
    if len(correct) == 0:
        raise ValueError("accuracy of no rows is not defined")
    return float(np.mean(correct))


def bootstrap_interval(
    statistic: Callable[..., float],
    *columns: Array,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a statistic over rows (Efron 1979).

    Args:
        statistic: takes the columns and returns a number.
        columns: one array for each argument of the statistic; the same index is the same row in all.
        level: confidence level, the share of resamples inside the interval.
        resamples: number of resamples drawn with replacement.
        seed: seed of the resampling.

    Raises:
        ValueError: there are no rows, or columns differ in length.
    """
    rows = len(columns[0])
    if rows == 0 or any(len(column) != rows for column in columns):
        raise ValueError(f"a bootstrap needs columns of one length, at least 1: {[len(column) for column in columns]}")
    drawn = resampled_rows(rows, resamples=resamples, seed=seed)
    return interval_of([statistic(*(column[index] for column in columns)) for index in drawn], level=level)


def interval_over_sets(
    statistic: Callable[..., float],
    *columns: Shaped[Array, "_sets _rows"],
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the bootstrap interval of a statistic's mean over sets, for variation in both sets and rows.

    Sets and rows are crossed, since every set is evaluated on the same rows. Both are resampled with replacement,
    independently of each other (the pigeonhole bootstrap, Owen 2007).

    Args:
        statistic: takes one set's rows of each column and returns a number.
        columns: one (sets, rows) array for each argument of the statistic.
        level: confidence level, the share of resamples inside the interval.
        resamples: number of resamples of sets and rows.
        seed: seed of the resampling.

    Raises:
        ValueError: there are no sets or rows, or columns differ in shape.
    """
    shapes = {column.shape for column in columns}
    sets, rows = columns[0].shape
    if len(shapes) != 1 or not sets or not rows:
        raise ValueError(f"a bootstrap needs columns of one shape, at least 1 set of 1 row: {sorted(shapes)}")
    drawn_rows = resampled_rows(rows, resamples=resamples, seed=seed)
    drawn_sets = np.random.default_rng(derived_seed(seed, "bootstrap-sets")).integers(0, sets, size=(resamples, sets))
    means = [
        np.mean([statistic(*(column[index][of_rows] for column in columns)) for index in of_sets])
        for of_sets, of_rows in zip(drawn_sets, drawn_rows, strict=True)
    ]
    return interval_of(np.array(means), level=level)


def resampled_rows(rows: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Int[Array, "resamples rows"]:
    """Return the row indices of each bootstrap resample: `rows` indices drawn with replacement."""
    return np.random.default_rng(derived_seed(seed, "bootstrap")).integers(0, rows, size=(resamples, rows))


def interval_of(values: Sequence[float] | Float[Array, " resamples"], *, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval that contains the share `level` of the resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def cosine_similarity(ours: Float[Tensor, "*shape d"], theirs: Float[Tensor, "*shape d"]) -> Float[Tensor, "*shape"]:
    """Return the cosine similarity of vectors in float32, in [-1, 1]; 0 if one of them is zero."""
    return torch.nn.functional.cosine_similarity(ours.float(), theirs.float(), dim=-1)
