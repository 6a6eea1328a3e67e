"""A study's figures: accuracy and ECE by N (the paper's Figure 1), and similarity to in-context learning (2, 3, 5)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ia2.reports.aggregate import Cell, deviation, mean
from ia2.reports.figures import COLOURS, STYLE
from ia2.reports.tables import METHOD_NAMES

OTHER_COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#7B3294", "#8C564B", "#B5BD00", "#17BECF")
"""For methods that `COLOURS` doesn't name."""


@dataclass(frozen=True)
class Drawn:
    """A figure and what it shows."""

    figure: Figure
    caption: str


def study_figures(cells: Sequence[Cell]) -> dict[str, Drawn]:
    """Every figure that a study has numbers for, by its heading.

    Args:
        cells: what was measured, at the best learning rate of each method.
    """
    found: dict[str, Drawn] = {}
    methods = [name for name in METHOD_NAMES if any(cell.method == name for cell in cells)]
    methods += sorted({cell.method for cell in cells} - set(methods))
    colours = _colours(methods)
    with matplotlib.rc_context(STYLE):
        for key in dict.fromkeys((c.setting.model, c.setting.adapter, c.setting.label_source) for c in cells):
            own = [c for c in cells if (c.setting.model, c.setting.adapter, c.setting.label_source) == key]
            named = f"{key[0]}, {key[1]}" + (f", {key[2]} labels" if key[2] != "–" else "")
            found[f"Accuracy and ECE by N: {named}"] = Drawn(
                _bars(own, methods, colours),
                "Mean over sets, and their standard deviation. * marks tasks that were not trained on.",
            )
            at_home = [cell for cell in own if not cell.setting.out_of_distribution]
            compared = [cell for cell in at_home if cell.method != "icl" and cell.asim]
            if compared:
                found[f"Similarity to ICL by layer: {named}"] = Drawn(
                    _by_layer(compared, methods, colours),
                    "Cosine similarity of attention outputs to those in context, mean over sets.",
                )
                found[f"Similarity to ICL against accuracy and ECE: {named}"] = Drawn(
                    _against(compared, methods, colours), "A point for each set."
                )
    return found


def _colours(methods: Sequence[str]) -> dict[str, str]:
    taken = {COLOURS[method] for method in methods if method in COLOURS}
    free = [colour for colour in OTHER_COLOURS if colour not in taken] or list(OTHER_COLOURS)
    others = cycle(free)
    return {method: COLOURS.get(method) or next(others) for method in methods}


def _panels(cells: Sequence[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    """The cells of each task that was measured, with its name."""
    for source, task in dict.fromkeys((cell.setting.source, cell.setting.eval) for cell in cells):
        name = source if source == task else f"{source} → {task}*"
        yield name, [cell for cell in cells if (cell.setting.source, cell.setting.eval) == (source, task)]


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _bars(cells: Sequence[Cell], methods: Sequence[str], colours: dict[str, str]) -> Figure:
    panels = list(_panels(cells))
    measures = ["accuracy", "ece"] if any(cell.ece for cell in cells) else ["accuracy"]
    figure = _figure(max(4.0, 3.2 * len(panels) + 1.2), 2.3 * len(measures) + 0.3)
    grid = figure.subplots(len(measures), len(panels), squeeze=False, sharey="row")
    for column, (name, own) in enumerate(panels):
        sizes = sorted({cell.setting.n for cell in own})
        for line, measure in enumerate(measures):
            axes = grid[line, column]
            _grouped_bars(axes, own, measure, methods, sizes, colours)
            axes.set_xticks(range(len(sizes)), [f"N = {n}" for n in sizes])
            if line == 0:
                axes.set_title(name, loc="left")
    grid[0, 0].set_ylabel("accuracy %")
    grid[0, 0].set_ylim(0, 100)
    if len(measures) == 2:
        grid[1, 0].set_ylabel("ECE")
        grid[1, 0].set_ylim(bottom=0)
    handles, names = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False)
    return figure


def _grouped_bars(
    axes: Axes,
    cells: Sequence[Cell],
    measure: str,
    methods: Sequence[str],
    sizes: Sequence[int],
    colours: dict[str, str],
) -> None:
    scale, width = (100 if measure == "accuracy" else 1), 0.8 / len(methods)
    for place, method in enumerate(methods):
        values = {cell.setting.n: getattr(cell, measure) for cell in cells if cell.method == method}
        centers = [mean(values.get(n, ())) for n in sizes]
        # no bar where nothing was measured, which is not 0
        heights = [scale * center if center is not None else math.nan for center in centers]
        errors = [scale * deviation(values.get(n, ())) for n in sizes]
        at = np.arange(len(sizes)) - 0.4 + width * (place + 0.5)
        name = METHOD_NAMES.get(method, method)
        axes.bar(at, heights, width, yerr=errors, color=colours[method], label=name, error_kw={"linewidth": 0.8})


def _by_layer(cells: Sequence[Cell], methods: Sequence[str], colours: dict[str, str]) -> Figure:
    panels = [
        (f"{name}, N = {n}", [cell for cell in own if cell.setting.n == n])
        for name, own in _panels(cells)
        for n in sorted({cell.setting.n for cell in own})
    ]
    figure = _figure(max(4.0, 3.0 * len(panels) + 1.2), 2.8)
    grid = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, (name, own) in zip(grid, panels, strict=True):
        for cell in sorted(own, key=lambda cell: methods.index(cell.method)):
            curves = np.array([record["metrics"]["asim_by_layer"] for record in cell.records])
            layers = np.arange(1, curves.shape[1] + 1)
            label = METHOD_NAMES.get(cell.method, cell.method)
            axes.plot(layers, curves.mean(0), color=colours[cell.method], linewidth=1.6, label=label)
        axes.set_title(name, loc="left")
        axes.set_xlabel("layer")
    grid[0].set_ylabel("cosine similarity")
    grid[0].set_ylim(top=1)
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False)
    return figure


def _against(cells: Sequence[Cell], methods: Sequence[str], colours: dict[str, str]) -> Figure:
    measures = ["accuracy", "ece"] if any(cell.ece for cell in cells) else ["accuracy"]
    figure = _figure(3.2 * len(measures) + 1.4, 2.8)
    grid = figure.subplots(1, len(measures), squeeze=False)[0]
    for axes, measure in zip(grid, measures, strict=True):
        for method in methods:
            own = [cell for cell in cells if cell.method == method]
            across = [value for cell in own for value in cell.asim]
            scale = 100 if measure == "accuracy" else 1
            up = [scale * value for cell in own for value in getattr(cell, measure)]
            if up:
                label = METHOD_NAMES.get(method, method)
                axes.scatter(across, up, s=14, color=colours[method], label=label, alpha=0.8, linewidths=0)
        axes.set_xlabel("similarity to ICL")
        axes.set_ylabel("accuracy %" if measure == "accuracy" else "ECE")
        axes.set_ylim(0, 100 if measure == "accuracy" else None)
    handles, names = grid[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right upper", frameon=False)
    return figure
