"""Scatter plots of similarity to in-context learning against accuracy and ECE (Figures 3 and 5)."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from scipy import stats

from ia2.reports.aggregate import Result
from ia2.reports.figures.panels import SHOWN, add_legend, measures_of, new_figure
from ia2.reports.method_names import METHOD_NAMES

NAMES = {"accuracy": "accuracy", "ece": "ECE"}
LEAST_POINTS = 3
"""Minimum number of points for a correlation: two points are always on a line."""


def against(cells: Sequence[Result], methods: Sequence[str], colours: dict[str, str]) -> Figure:
    """Draw similarity to in-context learning against accuracy and ECE, with a point per set and result."""
    measures = measures_of(cells)
    figure = new_figure(3.2 * len(measures) + 1.4, 2.8)
    grid = figure.subplots(1, len(measures), squeeze=False)[0]
    for axes, measure in zip(grid, measures, strict=True):
        scale = 100 if measure == "accuracy" else 1
        for method in methods:
            pairs = [(asim, scale * value) for asim, value in _pairs(cells, measure, method)]
            if pairs:
                label = METHOD_NAMES.get(method, method)
                points = list(zip(*pairs, strict=True))
                axes.scatter(*points, s=18, color=colours[method], label=label, alpha=0.8, linewidths=0, clip_on=False)
        axes.set_xlabel("similarity to ICL")
        axes.set_ylabel(SHOWN[measure])
        axes.set_ylim(0, 100 if measure == "accuracy" else None)
    add_legend(figure, list(grid))
    return figure


def correlations(cells: Sequence[Result]) -> list[str]:
    """Return a sentence per measure on its Pearson correlation with similarity; none for few or equal points."""
    sentences = []
    for measure in measures_of(cells):
        pairs = _pairs(cells, measure)
        asims, values = {asim for asim, _ in pairs}, {value for _, value in pairs}
        if len(pairs) >= LEAST_POINTS and len(asims) > 1 and len(values) > 1:
            r = float(stats.pearsonr(*zip(*pairs, strict=True)).statistic)
            if math.isfinite(r):
                sentences.append(
                    f"Pearson's r between similarity and {NAMES[measure]} is {r:+.2f} ({len(pairs)} points)."
                )
    return sentences


def _pairs(cells: Sequence[Result], measure: str, method: str | None = None) -> list[tuple[float, float]]:
    """Return pairs of similarity and measure for each record with both; free-text responses have no ECE."""
    metrics = [record.metrics for cell in cells if method in (None, cell.method) for record in cell.records]
    pairs = ((row.asim, row.get(measure)) for row in metrics)
    return [(asim, value) for asim, value in pairs if asim is not None and value is not None]
