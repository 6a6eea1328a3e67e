"""Figure of methods over several sets: accuracy and ECE as dots with intervals, and the prompt length."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from ia2.evaluation.metrics import accuracy, expected_calibration_error
from ia2.reports.figures.reliability import COLOURS, STYLE
from ia2.reports.over_sets import OverSets


def dots_over_sets(parts: Mapping[str, Sequence[OverSets]]) -> Figure:
    """Draw two panels per part, accuracy and ECE, with a line for each method.

    Args:
        parts: methods measured on the same sets and rows, by panel title.
    """
    with matplotlib.rc_context(STYLE):
        lines = [len(measured) for measured in parts.values()]
        size = (8.6, 0.34 * sum(lines) + 0.95 * len(parts))
        figure = Figure(size, layout=ConstrainedLayoutEngine(wspace=0.05))
        FigureCanvasAgg(figure)
        grid = figure.subplots(len(parts), 2, squeeze=False, sharex="col", height_ratios=lines)
        for (accuracies, errors), (title, measured) in zip(grid, parts.items(), strict=True):
            for position, method in enumerate(measured):
                colour = COLOURS.get(method.method, "#0072B2")
                sets = [100 * accuracy(rows) for rows in method.correct]
                interval = [100 * end for end in method.accuracy_interval]
                _dot(accuracies, position, 100 * method.accuracy, interval, sets, colour)
                sets = [expected_calibration_error(*rows) for rows in method.rows_of_sets]
                _dot(errors, position, method.ece, method.ece_interval, sets, colour)
            accuracies.set_title(title, loc="left", x=0)
            labels = [f"{method.name}   {method.prompt_tokens:.0f} tokens" for method in measured]
            accuracies.set_yticks(range(len(measured)), labels)
            errors.set_yticks([])
            for axes in (accuracies, errors):
                axes.set_ylim(len(measured) - 0.5, -0.5)
                axes.tick_params(axis="y", length=0)
        lowest = min(100 * method.accuracy_interval[0] for measured in parts.values() for method in measured)
        accuracies.set_xlim(max(10 * (lowest // 10) - 10, 0), 100)
        accuracies.set_xlabel("accuracy % (small dots: individual sets)")
        errors.set_xlim(left=0)
        errors.set_xlabel("expected calibration error")
        for axes in (accuracies, errors):
            # few enough ticks that the labels of neighbouring panels don't touch
            axes.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    return figure


def _dot(
    axes: Axes, position: int, center: float, interval: Sequence[float], sets: Sequence[float], colour: str
) -> None:
    """Draw a method's line: the mean, its interval, and the value of each set slightly below."""
    axes.plot(interval, [position, position], color=colour, linewidth=1.6, solid_capstyle="round", clip_on=False)
    axes.plot([center], [position], "o", color=colour, markersize=6, clip_on=False, zorder=3)
    axes.plot(sets, [position + 0.27] * len(sets), "o", color=colour, markersize=2.6, alpha=0.7, clip_on=False)
