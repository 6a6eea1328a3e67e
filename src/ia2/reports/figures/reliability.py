"""Figures of records: reliability diagrams, and the similarity of each layer to in-context learning."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ia2.cache import written_whole
from ia2.evaluation.metrics import reliability_bins
from ia2.records import Record
from ia2.reports.method_names import METHOD_NAMES, method_name

# Okabe and Ito's colours, which are distinguishable with colour blindness; others when they run out
COLOURS = {
    "zero-shot": "#7f7f7f", "icl": "#000000", "context": "#525252",
    "icl-contextual": "#3B3B98", "icl-batch": "#6A5ACD", "logistic-hidden": "#A6761D", "logistic-tfidf": "#666600",
    "sft": "#D55E00", "ia2": "#56B4E9", "ia2-sft": "#009E73",
    "ia2+soft": "#4B9CD3", "mean-shift": "#A65628", "sft-long": "#F4A582", "context-distillation": "#BC80BD",
    "sft-ia2": "#E69F00", "ia2+sft": "#0072B2", "sft-soft": "#CC79A7",
    "ia2-solved": "#17BECF", "ia2-solved-ia2": "#7B3294", "ia2-solved-sft": "#8C564B",
}  # fmt: skip
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "svg.hashsalt": "ia2",
    "svg.fonttype": "none",
}
SVG_METADATA: Any = {"Date": None, "Creator": None}
BINS = 10
"""Number of bins; fewer than the ECE's 15, so that each bar has enough rows."""


def reliability_and_similarity(
    records: Sequence[Record], predictions: Mapping[str, Sequence[Mapping[str, Any]]], stem: Path
) -> list[Path]:
    """Draw a reliability diagram per method, and asim by layer for all methods, as PNG and SVG.

    Args:
        records: one record per method, on the same rows.
        predictions: rows with `confidence` and `correct` for each `method` of the records.
        stem: path of the files without extension.

    Returns:
        The two files.
    """
    with matplotlib.rc_context(STYLE):
        figure = draw(records, predictions)
    return save_figure(figure, stem)


def save_figure(figure: Figure, stem: Path) -> list[Path]:
    """Write a figure as PNG and SVG with reproducible bytes, and return the two files."""
    written = []
    with matplotlib.rc_context(STYLE):
        for suffix, metadata in ((".png", {"Software": None}), (".svg", SVG_METADATA)):
            path = stem.with_suffix(suffix)
            with written_whole(path) as partial, partial.open("wb") as file:
                figure.savefig(file, format=suffix[1:], dpi=160, metadata=metadata)
            written.append(path)
    return written


def svg_of(figure: Figure) -> str:
    """Return a figure as the text of an SVG file."""
    file = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(file, format="svg", metadata=SVG_METADATA)
    return file.getvalue().decode()


def draw(records: Sequence[Record], predictions: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw a reliability diagram for each record, and one panel of similarities."""
    figure = Figure(figsize=(1.9 * len(records) + 4.4, 2.9), layout="constrained")
    FigureCanvasAgg(figure)
    diagrams, similarity = np.ravel(figure.subfigures(1, 2, width_ratios=[1.9 * len(records), 4.4], squeeze=False))
    panels = diagrams.subplots(1, len(records), sharey=True, squeeze=False)[0]
    for axes, record in zip(panels, records, strict=True):
        accuracy, ece = record.metrics.accuracy, record.metrics.ece
        assert accuracy is not None, "labels were measured"
        assert ece is not None, "and have a calibration"
        draw_reliability(axes, record.method, accuracy, ece, predictions[record.method])
    panels[0].set_ylabel("accuracy")
    panels[len(panels) // 2].set_xlabel("confidence (stronger colour: more rows)")
    draw_similarity(similarity.subplots(), [record for record in records if record.method != "icl"])
    return figure


def draw_reliability(axes: Axes, method: str, accuracy: float, ece: float, rows: Sequence[Mapping[str, Any]]) -> None:
    """Draw a reliability diagram: bar height is the accuracy of a bin, opacity its share of the rows."""
    confidence = np.array([row["confidence"] for row in rows], dtype=np.float64)
    bins = reliability_bins(confidence, np.array([row["correct"] for row in rows], dtype=bool), bins=BINS)
    share = bins.count / bins.count.sum()
    edges = np.arange(BINS) / BINS
    colour = COLOURS.get(method, "#0072B2")
    bars = axes.bar(edges, bins.accuracy, width=1 / BINS, align="edge", color=colour, edgecolor="white", linewidth=0.5)
    for bar, part in zip(bars, share, strict=True):
        bar.set_alpha(0.25 + 0.75 * min(part / 0.3, 1.0) if part else 0.0)
    held = bins.count > 0
    axes.plot(bins.confidence[held], bins.accuracy[held], "o", color=colour, markersize=3, clip_on=False, zorder=3)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=(0, (4, 3)))
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_xticklabels(["0", ".5", "1"])
    measured = f"accuracy {100 * accuracy:.1f} %\nECE {ece:.3f}"
    axes.set_title(f"{METHOD_NAMES.get(method, method)}\n{measured}", loc="left")


def draw_similarity(axes: Axes, records: Sequence[Record]) -> None:
    """Draw asim to in-context learning by layer, a line per method (the paper's Figure 2)."""
    for record in records:
        values = record.metrics.get("asim_by_layer")
        if values:
            colour = COLOURS.get(record.method, "#0072B2")
            axes.plot(range(1, len(values) + 1), values, color=colour, linewidth=1.6, label=method_name(record))
    axes.set(xlabel="layer", ylabel="cosine similarity", ylim=(min(0.0, axes.get_ylim()[0]), 1))
    axes.set_title("Similarity of attention outputs to ICL", loc="left")
    axes.margins(x=0.02)
    axes.legend(frameon=False, loc="best")
