"""Figures that need files besides the records: saved adapters (Figure 4) and predictions."""

import json
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ia2.errors import InputError
from ia2.reports.aggregate import Result, Setting, mean
from ia2.reports.figures.panels import Drawn, new_figure
from ia2.reports.figures.reliability import STYLE, draw_reliability
from ia2.reports.figures.study_figures import OTHER_COLOURS
from ia2.reports.known_overlaps import Paths
from ia2.reports.method_names import METHOD_NAMES, method_order
from ia2.reports.overlaps import Curve, Group, Pair, SetOverlap, adapters_of, curves_of, group_name, overlaps_of

OVERLAP, RELIABILITY = "Subspace overlap by layer", "Reliability"
CAPTIONS = {
    OVERLAP: "Overlap of the subspaces of two methods' weight updates, averaged over modules, for adapters trained on "
    "the same set: mean and standard deviation over sets, N and tasks. The number of adapter pairs is in parentheses.",
    RELIABILITY: "Accuracy by confidence on the training task, with the rows of all sets pooled; accuracy and ECE are "
    "means over sets. On the dashed line, confidence equals accuracy.",
}
"""Caption of each figure, by heading."""

PAIR_COLOURS = OTHER_COLOURS
"""Colours of pairs of methods, different from those of the methods."""
LINES = ("-", "--", ":", "-.")
ABREAST, ROW_TITLE = 2, 30
"""Overlap panels per row, and characters per line of a row title."""


def folder_figures(
    cells: Sequence[Result], folder: Path, overlaps: Sequence[SetOverlap] | None = None
) -> dict[str, Drawn]:
    """Draw the figures that the study's folder has files for, by heading; `absent_files` lists what is missing.

    The first figure only shows plain LoRA adapters, as other kinds have no low-rank factors of their updates.

    Args:
        cells: the study's results, at the best learning rate of each method.
        folder: the study's folder.
        overlaps: the overlaps of its adapters, if already known.

    Raises:
        InputError: an adapter or a file of predictions exists but can't be read.
    """
    figures = {}
    curves = curves_of(overlaps_of(cells, folder) if overlaps is None else overlaps)
    predictions = [(cell, rows) for cell in cells if (rows := _predictions(cell, folder))]
    with matplotlib.rc_context(STYLE):
        if curves:
            figures[OVERLAP] = Drawn(_overlap_figure(curves), CAPTIONS[OVERLAP])
        if predictions:
            figures[RELIABILITY] = Drawn(_reliability_figure(predictions), CAPTIONS[RELIABILITY])
    return figures


def absent_files(cells: Sequence[Result], folder: Path, known: Iterable[Paths] = ()) -> list[str]:
    """Return sentences on files that records name but the folder lacks, and that figures leave out.

    Args:
        cells: the study's results.
        folder: the study's folder.
        known: pairs of adapters with a known overlap, whose files aren't needed any more.
    """
    needless = {path for paths in known for path in paths}
    adapters = {
        folder / str(record.adapter.path)
        for records in adapters_of(cells).values()
        for record in records.values()
        if record.adapter and record.adapter.path not in needless
    }
    predictions = {file for cell in cells for file in _files(cell, folder)}
    sentences = []
    for name, paths, figure in (("adapters", adapters, OVERLAP), ("files of predictions", predictions, RELIABILITY)):
        if absent := sum(not path.exists() for path in paths):
            sentences.append(
                f'{absent} of {len(paths)} {name} are missing from the folder; the figure "{figure}" leaves them out.'
            )
    return sentences


def _predictions(cell: Result, folder: Path) -> list[dict[str, Any]]:
    """Return the rows of all sets; empty for another task, free text, or if a set's rows are missing."""
    files = _files(cell, folder)
    if not all(file.is_file() for file in files):
        return []
    return [row for file in files for row in _rows(file)]


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        # only \n ends a line: predictions may contain other line separators
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]
        return [{name: row[name] for name in ("confidence", "correct")} for row in rows]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{file}: these predictions can't be read ({type(error).__name__}: {error}).") from error


def _files(cell: Result, folder: Path) -> list[Path]:
    """Return the prediction files for a result's diagram; empty for another task or free text."""
    if cell.setting.out_of_distribution or not cell.ece:
        return []
    return [record.rows(folder) for record in cell.records]


def _overlap_figure(overlaps: Mapping[Group, Mapping[Pair, Sequence[Curve]]]) -> Figure:
    columns = min(len(overlaps), ABREAST)
    lines = math.ceil(len(overlaps) / columns)
    figure = new_figure(5.6 * columns, 2.9 * lines)
    table = figure.subplots(lines, columns, squeeze=False, sharey=True)
    grid = list(table.flat)
    for axes in grid[len(overlaps) :]:
        axes.set_axis_off()
    pairs = sorted(
        {pair for curves in overlaps.values() for pair in curves}, key=lambda pair: (*map(method_order, pair),)
    )
    for axes, (group, curves) in zip(grid, overlaps.items(), strict=False):
        for index, pair in enumerate(pairs):
            if pair in curves:
                _draw_curves(axes, pair, curves[pair], index)
        axes.set(xlabel="layer", ylim=(0, 1))
        axes.set_title(group_name(group), loc="left")
        axes.margins(x=0.02)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for first in table[:, 0]:
        first.set_ylabel("subspace overlap")
    return figure


def _draw_curves(axes: Axes, pair: Pair, curves: Sequence[Curve], index: int) -> None:
    layers = np.array(sorted(curves[0])) + 1
    values = np.array([[curve[layer - 1] for layer in layers] for curve in curves])
    colour = PAIR_COLOURS[index % len(PAIR_COLOURS)]
    line = LINES[index // len(PAIR_COLOURS) % len(LINES)]
    label = f"{' and '.join(METHOD_NAMES.get(method, method) for method in pair)} ({len(curves)})"
    center = values.mean(0)
    axes.plot(layers, center, line, color=colour, linewidth=1.6, label=label)
    if len(curves) > 1:
        spread = values.std(0, ddof=1)
        axes.fill_between(layers, center - spread, center + spread, color=colour, alpha=0.2, linewidth=0)


def _reliability_figure(predictions: Sequence[tuple[Result, Sequence[Mapping[str, Any]]]]) -> Figure:
    settings = sorted({cell.setting for cell, _ in predictions})
    methods = sorted({cell.method for cell, _ in predictions}, key=method_order)
    figure = new_figure(1.9 * len(methods) + 0.8, 2.7 * len(settings) + 0.2)
    grid = figure.subplots(len(settings), len(methods), squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat:
        axes.set_axis_off()
    for cell, rows in predictions:
        axes = grid[settings.index(cell.setting), methods.index(cell.method)]
        axes.set_axis_on()
        draw_reliability(axes, cell.method, mean(cell.accuracy) or 0.0, mean(cell.ece) or 0.0, rows)
    for line, title in zip(grid, _row_titles(settings), strict=True):
        shown = next(axes for axes in line if axes.axison)
        shown.set_ylabel(f"{title}\naccuracy")
    figure.supxlabel("confidence (stronger colour: more rows)", fontsize="medium")
    return figure


def _row_titles(settings: Sequence[Setting]) -> Iterator[str]:
    """Yield row titles of task and N, plus what else differs between rows, wrapped to the height of a row."""
    parts = ("model", "adapter", "label_source")
    differing = [part for part in parts if len({getattr(setting, part) for setting in settings}) > 1]
    for setting in settings:
        texts = [str(getattr(setting, part)) for part in differing] + [f"{setting.source}, N = {setting.n}"]
        yield "\n".join(line for text in texts for line in textwrap.wrap(text, ROW_TITLE))
