"""Tables of records for the terminal."""

from collections.abc import Mapping, Sequence

from rich.table import Table

from ia2.records import Metrics, Record

METHOD_NAMES = {
    "zero-shot": "zero-shot",
    "icl": "ICL",
    "context": "in context",
    "sft": "SFT",
    "ia2": "IA2",
    "ia2-sft": "IA2→SFT",
    "sft-ia2": "SFT→IA2",
    "ia2+sft": "IA2+SFT",
    "sft-soft": "soft SFT",
    "ia2-solved": "IA2 solved",
    "ia2-solved-ia2": "IA2 solved→IA2",
    "ia2-solved-sft": "IA2 solved→SFT",
}
"""How the paper writes them."""
NOTHING = "–"
MEASURES = {
    "accuracy %": ("accuracy", 100.0, 1),
    "equivalent %": ("equivalent_accuracy", 100.0, 1),
    "ECE": ("ece", 1.0, 3),
}
"""What a column shows: the metric, how many times as large, and with how many digits."""


def method_name(record: Record) -> str:
    """The method as the paper writes it."""
    name: str = record.method
    return METHOD_NAMES.get(name, name)


def comparison_table(records: Sequence[Record]) -> Table:
    """One row a record: accuracy in percent and ECE with their 95 % intervals, asim, and where the time went.

    Responses of free text have no ECE; mathematical answers have a second accuracy, of those that mean the same. What
    no record has a value of has no column.
    """
    first = records[0].metrics
    binnings = {record.metrics.get("ece_binning") for record in records} - {None}
    mathematical = any(record.metrics.get("equivalent_accuracy") is not None for record in records)
    explained = ["95 % bootstrap intervals in brackets"]
    headings = ["accuracy %"]
    if mathematical:
        headings.append("equivalent %")
        explained.append("accuracy counts answers spelt alike, equivalent those that mean the same in mathematics")
    if binnings:
        headings.append("ECE")
        explained.append(f"ECE of 15 {' or '.join(sorted(binnings))} bins")
    explained.append("tokens: of a query's prompt")
    rows = [
        {
            **{heading: _with_interval(record.metrics, *MEASURES[heading]) for heading in headings},
            "asim": _number(record.metrics.get("asim"), 3),
            "tokens": _number(record.metrics.get("prompt_tokens"), 0),
            "lr": NOTHING if record.lr is None else f"{record.lr:g}",
            "train s": _number(_training_seconds(record.seconds), 1),
            "evaluate s": _number(record.seconds.get("evaluate"), 1),
        }
        for record in records
    ]
    # a measurement alone was never trained
    shown = [heading for heading in rows[0] if heading in headings or any(row[heading] != NOTHING for row in rows)]
    if "asim" in shown:
        explained.append("asim is the similarity to in-context learning")
    most = max(record.n for record in records)
    title = f"{records[0].task.eval}, {first.n} rows"
    table = Table(
        title=f"{title}, N = {most}" if most else title,
        caption="; ".join(explained),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("method", style="bold")
    for heading in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    for record, row in zip(records, rows, strict=True):
        table.add_row(method_name(record), *(row[heading] for heading in shown))
    return table


def _training_seconds(seconds: Mapping[str, float]) -> float | None:
    """Of the teacher and the student together; None where nothing was trained."""
    return sum(seconds[phase] for phase in ("teacher", "train") if phase in seconds) or None


def _with_interval(metrics: Metrics, name: str, scale: float, digits: int) -> str:
    value = metrics.get(name)
    if value is None:
        return NOTHING
    low, high = (scale * bound for bound in metrics.get(f"{name}_interval"))
    return f"{scale * value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"
