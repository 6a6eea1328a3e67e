"""Tables of records for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

METHOD_NAMES = {"zero-shot": "zero-shot", "icl": "ICL", "sft": "SFT", "ia2": "IA2", "ia2-sft": "IA2→SFT"}
"""How the paper writes them."""


def method_name(record: Mapping[str, Any]) -> str:
    """The method as the paper writes it."""
    name: str = record["method"]
    return METHOD_NAMES.get(name, name)


def comparison_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """One row a record: accuracy in percent and ECE with their 95 % intervals, asim, and where the time went."""
    metrics = [record["metrics"] for record in records]
    first = metrics[0]
    table = Table(
        title=f"{records[0]['task']['eval']}, {first['n']} rows, N = {max(record['n'] for record in records)}",
        caption=f"95 % bootstrap intervals in brackets; ECE of 15 {first.get('ece_binning', '')} bins; "
        "asim is the similarity to in-context learning",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("method", style="bold")
    for heading in ("accuracy %", "ECE", "asim", "lr", "train s", "evaluate s"):
        table.add_column(heading, justify="right", no_wrap=True)
    for record, values in zip(records, metrics, strict=True):
        seconds = record["seconds"]
        rate = record["lr"]
        table.add_row(
            method_name(record),
            _with_interval(values, "accuracy", 100.0, 1),
            _with_interval(values, "ece", 1.0, 3),
            _number(values.get("asim"), 3),
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
