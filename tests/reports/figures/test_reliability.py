import numpy as np
import pytest
from matplotlib.figure import Figure
from pytest import approx
from study_records import changed
from study_records import record as measured

from ia2.reports.figures.reliability import draw, draw_reliability, reliability_and_similarity


def record(method, layers):
    return changed(measured(method, 0.75), metrics={"asim_by_layer": layers})


ROWS = [
    {"confidence": 0.05, "correct": False},
    {"confidence": 0.92, "correct": True},
    {"confidence": 0.98, "correct": True},
    {"confidence": 0.96, "correct": False},
]


def test_a_bar_is_as_high_as_its_rows_are_accurate():
    axes = Figure().subplots()
    draw_reliability(axes, "sft", 0.75, 0.1, ROWS)
    heights = [bar.get_height() for bar in axes.patches]
    assert heights == approx([0] * 9 + [2 / 3])
    points = axes.lines[0]
    assert points.get_xdata() == approx([0.05, (0.92 + 0.98 + 0.96) / 3])
    assert points.get_ydata() == approx([0, 2 / 3])
    assert axes.get_title(loc="left").split("\n") == ["SFT", "accuracy 75.0 %", "ECE 0.100"]


def test_similarity_lines_are_the_records_and_icl_is_left_out():
    layers = {"zero-shot": [0.5, 0.25], "icl": [1.0, 1.0], "ia2-sft": [0.75, 0.5]}
    records = [record(method, values) for method, values in layers.items()]
    figure = draw(records, dict.fromkeys(layers, ROWS))
    axes = figure.subfigs[1].axes[0]
    drawn = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines}
    assert drawn == {"zero-shot": ([1, 2], [0.5, 0.25]), "IA2→SFT": ([1, 2], [0.75, 0.5])}
    assert len(figure.subfigs[0].axes) == 3


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_records_give_the_same_bytes(tmp_path, suffix):
    records = [record("sft", list(np.linspace(0, 1, 5)))]
    for name in ("one", "two"):
        reliability_and_similarity(records, {"sft": ROWS}, tmp_path / name)
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()
