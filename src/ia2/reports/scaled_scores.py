"""Table of calibration before and after temperature scaling, a row per method: ECE, NLL and Brier score over sets."""

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
"""Column of each metric, and the factor that its values are multiplied by."""


def scaled_scores(cells: Sequence[Result]) -> list[Table]:
    """Return a table for each model whose records have a temperature, with every method and setting.

    Args:
        cells: the study's results.
    """
    return scores_tables(
        cells,
        SCORES,
        "calibration before and after temperature scaling",
        "Means (standard deviations with divisor n - 1) over sets; all scores are over the labels alone. Each method's "
        "temperature T minimises its NLL on the dev rows of each set and changes no answer; T > 1 lowers its "
        "confidence. This ECE is that of the likeliest label, not of the likeliest token of the whole vocabulary. A "
        "set whose dev rows have a single label has no temperature, and is in none of these means.",
        "scaled_nll",
    )
