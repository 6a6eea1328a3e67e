import pytest
from conftest import study_record as record

from ia2.reports.aggregate import cells
from ia2.reports.study_figures import study_figures


def test_bars_are_as_high_as_the_means_and_lines_as_the_curves():
    records = [
        record(
            method, seed, value + 0.1 * seed, n=n, adapter=None if method == "icl" else {"kind": "ia3", "modules": []}
        )
        for method, value in (("icl", 0.5), ("sft", 0.6), ("own", 0.7))
        for seed in (0, 1)
        for n in (4, 8)
    ]
    bars, layers, points = study_figures(cells(records)).values()
    accuracy, ece = bars.axes
    assert sorted(patch.get_height() for patch in accuracy.patches) == pytest.approx([55, 55, 65, 65, 75, 75])
    assert [patch.get_height() for patch in ece.patches] == pytest.approx([0.1] * 6)
    assert [text.get_text() for text in bars.legends[0].get_texts()] == ["ICL", "SFT", "own"]
    assert [axes.get_title(loc="left") for axes in layers.axes] == ["a, N = 4", "a, N = 8"]
    # in-context learning is what it is compared with
    assert len(layers.axes[0].lines) == 2
    assert list(layers.axes[0].lines[0].get_ydata()) == [0.4, 0.6]
    assert [len(one.get_offsets()) for one in points.axes[0].collections] == [4, 4]


def test_what_was_not_measured_has_no_figure():
    bare = record("zero-shot", 0, 0.5, adapter=None, ece=None)
    bare["metrics"]["asim"] = None
    (bars,) = study_figures(cells([bare])).values()
    assert len(bars.axes) == 1
