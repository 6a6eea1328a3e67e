"""Calibration before and after temperature scaling over sets, a row for each method: ECE, NLL and Brier score."""

from collections.abc import Mapping, Sequence

from ia2.reports.aggregate import Result
from ia2.reports.class_scores import scores_tables
from ia2.reports.table import Column, Table

SCORES: Mapping[str, tuple[Column, float]] = {
    "temperature": (Column("T", ".2f"), 1.0),
    "label_ece": (Column("ECE", ".3f", better="lower"), 1.0),
    "scaled_ece": (Column("scaled ECE", ".3f", better="lower"), 1.0),
    "nll": (Column("NLL", ".3f", better="lower"), 1.0),
    "scaled_nll": (Column("scaled NLL", ".3f", better="lower"), 1.0),
    "brier": (Column("Brier", ".3f", better="lower"), 1.0),
    "scaled_brier": (Column("scaled Brier", ".3f", better="lower"), 1.0),
}
"""The column of each metric, and what it is multiplied by."""


def scaled_scores(cells: Sequence[Result]) -> list[Table]:
    """A table for each model whose records have a temperature, of every method in every setting.

    Args:
        cells: what was measured.
    """
    return scores_tables(
        cells,
        SCORES,
        "calibration before and after temperature scaling",
        "Means (standard deviations with divisor n - 1) over sets; all scores are over the labels alone. Each method's "
        "temperature T minimises its NLL on the dev rows of each set and changes no answer; T > 1 lowers its "
        "confidence. This ECE is that of the likeliest label, not of the likeliest token of the whole vocabulary.",
        "scaled_nll",
    )
