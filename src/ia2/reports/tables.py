"""Tables of records for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

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


def method_name(record: Mapping[str, Any]) -> str:
    """The method as the paper writes it."""
    name: str = record["method"]
    return METHOD_NAMES.get(name, name)


def comparison_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """One row a record: accuracy in percent and ECE with their 95 % intervals, asim, and where the time went.

    Responses of free text have no ECE; mathematical answers have a second accuracy, of those that mean the same.
    """
    first = records[0]["metrics"]
    binnings = {record["metrics"].get("ece_binning") for record in records} - {None}
    mathematical = any("equivalent_accuracy" in record["metrics"] for record in records)
    explained = ["95 % bootstrap intervals in brackets"]
    headings = ["accuracy %"]
    if mathematical:
        headings.append("equivalent %")
        explained.append("accuracy counts answers spelt alike, equivalent those that mean the same in mathematics")
    if binnings:
        headings.append("ECE")
        explained.append(f"ECE of 15 {' or '.join(sorted(binnings))} bins")
    explained.append("tokens: of a query's prompt; asim is the similarity to in-context learning")
    table = Table(
        title=f"{records[0]['task']['eval']}, {first['n']} rows, N = {max(record['n'] for record in records)}",
        caption="; ".join(explained),
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("method", style="bold")
    for heading in (*headings, "asim", "tokens", "lr", "train s", "evaluate s"):
        table.add_column(heading, justify="right", no_wrap=True)
    cells = {
        "accuracy %": ("accuracy", 100.0, 1),
        "equivalent %": ("equivalent_accuracy", 100.0, 1),
        "ECE": ("ece", 1.0, 3),
    }
    for record in records:
        values, seconds, rate = record["metrics"], record["seconds"], record["lr"]
        table.add_row(
            method_name(record),
            *(_with_interval(values, *cells[heading]) for heading in headings),
            _number(values.get("asim"), 3),
            _number(values.get("prompt_tokens"), 0),
            f"{rate:g}" if rate is not None else "–",
            _number(sum(seconds[phase] for phase in ("teacher", "train") if phase in seconds) or None, 1),
            _number(seconds.get("evaluate"), 1),
        )
    return table


def _with_interval(values: Mapping[str, Any], name: str, scale: float, digits: int) -> str:
    if values.get(name) is None:
        return "–"
    low, high = (scale * bound for bound in values[f"{name}_interval"])
    return f"{scale * values[name]:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
