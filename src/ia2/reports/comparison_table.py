"""The table of records that a command prints last."""

from collections.abc import Iterable, Mapping, Sequence

from ia2.records import Metrics, Record
from ia2.reports.method_names import method_name
from ia2.reports.table import NOTHING, Cell, Column, Table

MEASURES = {
    "accuracy %": ("accuracy", 100.0, ".1f"),
    "equivalent %": ("equivalent_accuracy", 100.0, ".1f"),
    "macro-F1 %": ("macro_f1", 100.0, ".1f"),
    "ECE": ("ece", 1.0, ".3f"),
    "scaled ECE": ("scaled_ece", 1.0, ".3f"),
    "NLL": ("nll", 1.0, ".3f"),
    "Brier": ("brier", 1.0, ".3f"),
}
"""Metric of each column, the factor that it is multiplied by, and its number format."""
WITHOUT_INTERVAL = ("macro-F1 %", "scaled ECE", "NLL", "Brier")
"""Columns shown without the confidence intervals that records have, to save space."""
DROPPED = {"equivalent %": 1, "ECE": 1, "macro-F1 %": 2, "NLL": 3, "scaled ECE": 4, "Brier": 6}
"""Order in which columns are dropped in a narrow terminal, highest first; accuracy is never dropped."""
EXPLAINED = {
    **dict.fromkeys(("macro-F1 %", "NLL", "Brier"), "macro-F1, NLL and Brier are over the labels alone"),
    "equivalent %": "accuracy counts answers spelled the same, equivalent those that are mathematically equal",
    "scaled ECE": "scaled ECE: ECE of the likeliest label after temperature scaling on the dev rows",
}
"""Explanation of each measure, for the table's caption."""
TRAINED = (
    Column("asim", ".3f", dropped=5, explained="asim: similarity to in-context learning"),
    Column("tokens", ".0f", dropped=7, explained="tokens: prompt length of a query"),
    Column("lr", "g", dropped=8),
)
SPENT = (Column("train s", ".1f", dropped=9), Column("evaluate s", ".1f", dropped=10))


def comparison_table(records: Sequence[Record]) -> Table:
    """Return a table with a row per record: accuracy and ECE with 95 % intervals, other scores, asim, and times.

    Free-text responses only have accuracy. Mathematical answers also have the accuracy of equivalent answers. Measures
    that no record has get no column.
    """
    first = records[0].metrics
    binnings = {record.metrics.ece_binning for record in records if record.metrics.ece_binning}
    mathematical = any(record.metrics.get("equivalent_accuracy") is not None for record in records)
    by_class = any(record.metrics.nll is not None for record in records)
    is_scaled = any(record.metrics.scaled_ece is not None for record in records)
    shown = {"accuracy %": True, "equivalent %": mathematical, "ECE": bool(binnings), "scaled ECE": is_scaled}
    headings = [heading for heading in MEASURES if shown.get(heading, by_class)]
    columns = (Column("method"), *(_column(heading, binnings) for heading in headings), *TRAINED, *SPENT)
    rows = []
    for record in records:
        values = (
            *(record.metrics.get("asim"), record.metrics.get("prompt_tokens"), record.lr),
            *(_training_seconds(record.seconds), record.seconds.get("evaluate")),
        )
        rows.append(
            (
                columns[0].cell(method_name(record)),
                *(_score(record.metrics, heading) for heading in headings),
                *(column.cell(value) for column, value in zip((*TRAINED, *SPENT), values, strict=True)),
            )
        )
    # a measurement without training has no values in these columns
    optional = [column.heading for column in (*TRAINED, *SPENT)]
    most = max(record.n for record in records)
    title = f"{records[0].task.eval}, {first.n} rows"
    caption = "95 % bootstrap intervals in brackets"
    table = Table(f"{title}, N = {most}" if most else title, caption, columns, tuple(rows))
    return table.without_empty_columns(optional)


def _column(heading: str, binnings: Iterable[str]) -> Column:
    """Return the column of a measure; `binnings` are the ECE binnings of the records."""
    explained = EXPLAINED.get(heading, "")
    if heading == "ECE":
        explained = f"ECE with 15 {' or '.join(sorted(binnings))} bins"
    return Column(heading, MEASURES[heading][2], dropped=DROPPED.get(heading, 0), explained=explained)


def _training_seconds(seconds: Mapping[str, float]) -> float | None:
    """Return the training time of teacher and student together; None if nothing was trained."""
    return sum(seconds[phase] for phase in ("teacher", "train") if phase in seconds) or None


def _score(metrics: Metrics, heading: str) -> Cell:
    name, scale, printed = MEASURES[heading]
    value = metrics.get(name)
    if value is None:
        return Cell(NOTHING, None)
    if heading in WITHOUT_INTERVAL:
        return Cell(format(scale * value, printed), scale * value)
    shown, low, high = (format(scale * number, printed) for number in (value, *metrics.get(f"{name}_interval")))
    return Cell(f"{shown} [{low}, {high}]", scale * value)
