"""Shared parts of a study's figures: captions, axis labels and the legend."""

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ia2.reports.aggregate import Result

SHOWN = {"accuracy": "accuracy %", "ece": "ECE", "asim": "cosine similarity"}
"""Axis label of each measure."""


@dataclass(frozen=True)
class Drawn:
    """A figure and its caption."""

    figure: Figure
    caption: str


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure; width and height in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def add_legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """Add one legend for all axes, on the right."""
    shown = {name: handle for panel in axes for handle, name in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(list(shown.values()), list(shown), loc="outside right upper", frameon=False)


def measures_of(cells: Sequence[Result]) -> list[str]:
    """Return the measures that were taken: accuracy, and ECE unless all responses are free text."""
    return ["accuracy", "ece"] if any(cell.ece for cell in cells) else ["accuracy"]
