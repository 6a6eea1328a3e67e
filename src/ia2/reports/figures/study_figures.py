"""Figures of a study: accuracy and ECE by N (the paper's 1 and 6), similarity to in-context learning (2, 3, 5)."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle, zip_longest
from typing import Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ia2.reports.aggregate import Result, deviation, mean
from ia2.reports.averages import ALL_MODELS, ALL_TASKS, pooled
from ia2.reports.figures.panels import SHOWN, Drawn, add_legend, measures_of, new_figure
from ia2.reports.figures.reliability import COLOURS, STYLE
from ia2.reports.figures.scatter import against, correlations
from ia2.reports.method_names import METHOD_NAMES

OTHER_COLOURS = ("#0072B2", "#E69F00", "#CC79A7", "#7B3294", "#8C564B", "#B5BD00", "#17BECF")
"""Colours of methods that `COLOURS` lacks."""
WIDEST = 4
"""Maximum number of panels per row."""
AGAINST = "Accuracy and ECE against similarity to ICL"
POOLED = (
    f"{ALL_TASKS}: mean and standard deviation over the tasks and models that every method has at that N, each by its "
    "mean over sets."
)


def study_figures(cells: Sequence[Result]) -> dict[str, Drawn]:
    """Draw every figure that the study has numbers for, by heading.

    Args:
        cells: the study's results, at the best learning rate of each method.
    """
    figures: dict[str, Drawn] = {}
    methods = [name for name in METHOD_NAMES if any(cell.method == name for cell in cells)]
    methods += sorted({cell.method for cell in cells} - set(methods))
    colours = _colours(methods)
    with matplotlib.rc_context(STYLE):
        for model, adapter, labels in dict.fromkeys(_group(cell) for cell in cells):
            group_cells = [cell for cell in cells if _group(cell) == (model, adapter, labels)]
            named = f"{model}, {_fitted(adapter, labels)}"
            figures |= _by_n([*pooled(group_cells), *group_cells], methods, colours, named)
            figures |= _likeness(group_cells, methods, colours, named)
        for adapter, labels in dict.fromkeys(_group(cell)[1:] for cell in cells):
            group_cells = [cell for cell in cells if _group(cell)[1:] == (adapter, labels)]
            if len({cell.setting.model for cell in group_cells}) > 1:
                named = f"{ALL_MODELS}, {_fitted(adapter, labels)}"
                if over := pooled(group_cells):
                    figures |= _by_n(over, methods, colours, named)
                if compared := _compared(group_cells):
                    figures[f"{AGAINST}: {named}"] = _points(compared, methods, colours)
    return figures


def _group(cell: Result) -> tuple[str, str, str]:
    return cell.setting.model, cell.setting.adapter, cell.setting.label_source


def _fitted(adapter: str, labels: str) -> str:
    return adapter + (f", {labels} labels" if labels != "–" else "")


def _by_n(cells: Sequence[Result], methods: Sequence[str], colours: dict[str, str], named: str) -> dict[str, Drawn]:
    over = any(cell.setting.eval == ALL_TASKS for cell in cells)
    pooled_note = f" {POOLED}" if over else ""
    figures = {
        f"Accuracy and ECE by N: {named}": Drawn(
            _bars(cells, methods, colours),
            f"Means and standard deviations over sets. * marks tasks that were not trained on.{pooled_note}",
        )
    }
    if len({cell.setting.n for cell in cells}) > 2:
        figures[f"Accuracy and ECE as N grows: {named}"] = Drawn(
            _trend(cells, methods, colours),
            f"Means over sets; bands show ±1 standard deviation.{pooled_note}",
        )
    return figures


def _likeness(cells: Sequence[Result], methods: Sequence[str], colours: dict[str, str], named: str) -> dict[str, Drawn]:
    figures: dict[str, Drawn] = {}
    if compared := _compared(cells):
        several = len({(cell.setting.source, cell.setting.n) for cell in compared}) > 1
        figures[f"Similarity to ICL by layer: {named}"] = Drawn(
            _curves(compared, methods, colours, "layer"),
            "Cosine similarity of attention outputs to those of in-context learning, averaged over sets."
            + " all tasks and N: mean over the tasks and N that every method has." * several,
        )
        if texts := [c for c in compared if all(record.metrics.asim_by_token for record in c.records)]:
            figures[f"Similarity to ICL by response token: {named}"] = Drawn(
                _curves(texts, methods, colours, "token"),
                "Cosine similarity of attention outputs to those of in-context learning, averaged over layers, the "
                "rows whose response is long enough, and sets.",
            )
        figures[f"{AGAINST}: {named}"] = _points(compared, methods, colours)
    return figures


def _compared(cells: Sequence[Result]) -> list[Result]:
    """Return the results compared with in-context learning, each on its own training task."""
    return [cell for cell in cells if not cell.setting.out_of_distribution and cell.method != "icl" and cell.asim]


def _points(cells: Sequence[Result], methods: Sequence[str], colours: dict[str, str]) -> Drawn:
    return Drawn(
        against(cells, methods, colours), " ".join(["Each point is one method on one set.", *correlations(cells)])
    )


def _colours(methods: Sequence[str]) -> dict[str, str]:
    taken = {COLOURS[method] for method in methods if method in COLOURS}
    free = [colour for colour in OTHER_COLOURS if colour not in taken] or list(OTHER_COLOURS)
    others = cycle(free)
    return {method: COLOURS.get(method) or next(others) for method in methods}


def _panels(cells: Sequence[Result]) -> Iterator[tuple[str, list[Result]]]:
    """Yield the name and results of each evaluation task."""
    for source, task in dict.fromkeys((cell.setting.source, cell.setting.eval) for cell in cells):
        name = source if source == task else f"{source} → {task}*"
        yield name, [cell for cell in cells if (cell.setting.source, cell.setting.eval) == (source, task)]


def _grid(
    panels: Sequence[str], measures: Sequence[str], width: float, height: float
) -> tuple[Figure, list[dict[str, Axes]]]:
    """Create axes for each panel and measure: measures as rows, at most `WIDEST` panels per row.

    All axes of a measure share their range.
    """
    columns = min(len(panels), WIDEST)
    blocks = math.ceil(len(panels) / columns)
    figure = new_figure(max(4.0, width * columns + 1.2), height * len(measures) * blocks + 0.3)
    grid = figure.subplots(blocks * len(measures), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    by_panel: list[dict[str, Axes]] = []
    for index, name in enumerate(panels):
        block, column = divmod(index, columns)
        by_panel.append({measure: grid[block * len(measures) + line, column] for line, measure in enumerate(measures)})
        for measure, axes in by_panel[-1].items():
            axes.set_axis_on()
            if index:
                axes.sharey(by_panel[0][measure])
            if column == 0:
                axes.set_ylabel(SHOWN[measure])
        by_panel[-1][measures[0]].set_title(name, loc="left")
    return figure, by_panel


def _measured(axes: Mapping[str, Axes], cells: Sequence[Result]) -> Iterator[tuple[str, Axes]]:
    """Yield the axes of measures that the results have, and hide the others, such as ECE for free text."""
    for measure, panel in axes.items():
        if any(getattr(cell, measure) for cell in cells):
            yield measure, panel
        else:
            panel.set_axis_off()


def _limit(grid: Sequence[Mapping[str, Axes]]) -> None:
    first = grid[0]
    first["accuracy"].set_ylim(0, 100)
    if "ece" in first:
        first["ece"].set_ylim(bottom=0)


def _bars(cells: Sequence[Result], methods: Sequence[str], colours: dict[str, str]) -> Figure:
    panels = dict(_panels(cells))
    figure, grid = _grid(list(panels), measures_of(cells), 3.2, 2.3)
    for (_, panel_cells), of_measure in zip(panels.items(), grid, strict=True):
        sizes = sorted({cell.setting.n for cell in panel_cells})
        for measure, axes in _measured(of_measure, panel_cells):
            _grouped_bars(axes, panel_cells, measure, methods, sizes, colours)
            axes.set_xticks(range(len(sizes)), [str(n) for n in sizes])
            axes.set_xlabel("N")
    _limit(grid)
    add_legend(figure, list(grid[0].values()))
    return figure


def _trend(cells: Sequence[Result], methods: Sequence[str], colours: dict[str, str]) -> Figure:
    panels = dict(_panels(cells))
    figure, grid = _grid(list(panels), measures_of(cells), 3.2, 2.3)
    for (_, panel_cells), of_measure in zip(panels.items(), grid, strict=True):
        sizes = sorted({cell.setting.n for cell in panel_cells})
        for measure, axes in _measured(of_measure, panel_cells):
            scale = 100 if measure == "accuracy" else 1
            for method in methods:
                of_method = [cell for cell in panel_cells if cell.method == method]
                values = {cell.setting.n: getattr(cell, measure) for cell in of_method if getattr(cell, measure)}
                at = sorted(values)
                center = scale * np.array([mean(values[n]) for n in at], dtype=float)
                spread = scale * np.array([deviation(values[n]) for n in at], dtype=float)
                name = METHOD_NAMES.get(method, method)
                axes.plot(at, center, marker="o", markersize=3, linewidth=1.6, color=colours[method], label=name)
                axes.fill_between(at, center - spread, center + spread, color=colours[method], alpha=0.15, linewidth=0)
            axes.set_xscale("log", base=2)
            axes.set_xticks(sizes, [str(n) for n in sizes])
            axes.set_xlabel("N")
    _limit(grid)
    add_legend(figure, list(grid[0].values()))
    return figure


def _grouped_bars(
    axes: Axes,
    cells: Sequence[Result],
    measure: str,
    methods: Sequence[str],
    sizes: Sequence[int],
    colours: dict[str, str],
) -> None:
    scale, width = (100 if measure == "accuracy" else 1), 0.8 / len(methods)
    for index, method in enumerate(methods):
        values = {cell.setting.n: getattr(cell, measure) for cell in cells if cell.method == method}
        centers = [mean(values.get(n, ())) for n in sizes]
        # no bar for a missing value, which isn't 0
        heights = [scale * center if center is not None else math.nan for center in centers]
        errors = [scale * deviation(values.get(n, ())) for n in sizes]
        at = np.arange(len(sizes)) - 0.4 + width * (index + 0.5)
        name = METHOD_NAMES.get(method, method)
        axes.bar(at, heights, width, yerr=errors, color=colours[method], label=name, error_kw={"linewidth": 0.8})


def _curves(
    cells: Sequence[Result], methods: Sequence[str], colours: dict[str, str], along: Literal["layer", "token"]
) -> Figure:
    """Draw similarity by layer or by response token, in a panel per task and N; by layer, one for all."""
    panels = {
        f"{name}, N = {n}": {
            cell.method: _mean_curve([record.metrics.get(f"asim_by_{along}") or () for record in cell.records])
            for cell in sorted(panel_cells, key=lambda cell: methods.index(cell.method))
            if cell.setting.n == n
        }
        for name, panel_cells in _panels(cells)
        for n in sorted({cell.setting.n for cell in panel_cells})
    }
    drawn = {cell.method for cell in cells}
    whole = [curves for curves in panels.values() if curves.keys() == drawn]
    if along == "layer" and len(panels) > 1 and whole:
        over = {method: _mean_curve([curves[method] for curves in whole]) for method in whole[0]}
        panels = {"all tasks and N": over, **panels}
    figure, grid = _grid(list(panels), ["asim"], 3.0, 2.5)
    for curves, of_measure in zip(panels.values(), grid, strict=True):
        axes = of_measure["asim"]
        for method, center in curves.items():
            label = METHOD_NAMES.get(method, method)
            axes.plot(range(1, len(center) + 1), center, color=colours[method], linewidth=1.6, label=label)
        axes.set_xlabel(along)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    grid[0]["asim"].set_ylim(top=1)
    add_legend(figure, [of_measure["asim"] for of_measure in grid])
    return figure


def _mean_curve(curves: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean at each position over the curves that reach it, as response lengths differ between sets."""
    return [statistics.fmean(value for value in values if value is not None) for values in zip_longest(*curves)]
