"""Measures for comparing two methods: name, unit, and which direction is better."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Measure:
    """How comparisons show a metric of records."""

    heading: str
    scale: int = 1
    """Factor that a record's value is multiplied by."""
    better: Literal[1, -1] = -1
    """Sign of a difference that favours the first method."""


MEASURES: Mapping[str, Measure] = {
    "accuracy": Measure("accuracy, points", 100, 1),
    "ece": Measure("ECE"),
    "label_ece": Measure("ECE of the likeliest label"),
    "scaled_ece": Measure("scaled ECE"),
    "nll": Measure("NLL"),
    "scaled_nll": Measure("scaled NLL"),
    "brier": Measure("Brier"),
    "scaled_brier": Measure("scaled Brier"),
    "macro_f1": Measure("macro-F1, points", 100, 1),
    "balanced_accuracy": Measure("balanced accuracy, points", 100, 1),
    "asim": Measure("asim", 1, 1),
}
"""By the metric's name in records. Subspace overlap is missing, as it belongs to a pair of methods."""
