import math
from itertools import pairwise

import pytest
from matplotlib.container import ErrorbarContainer
from study_records import changed, record

from ia2.reports.aggregate import cells
from ia2.reports.figures.study_figures import study_figures


def measured(method, seed, value, n, **more):
    plain = record(method, value + 0.1 * seed, seed=seed, n=n, **more)
    return changed(plain, metrics={"asim": 0.5, "asim_by_layer": [0.4, 0.6]})


def test_bars_are_as_high_as_the_means_and_lines_as_the_curves():
    records = [
        measured(method, seed, value, n)
        for method, value in (("icl", 0.5), ("sft", 0.6), ("own", 0.7))
        for seed in (0, 1)
        for n in (4, 8)
    ]
    found = study_figures(cells(records))
    assert [name.partition(":")[0] for name in found] == [
        "Accuracy and ECE by N", "Similarity to ICL by layer", "Accuracy and ECE against similarity to ICL"
    ]  # fmt: skip
    bars, layers, points = (drawn.figure for drawn in found.values())
    accuracy, ece = bars.axes
    assert sorted(patch.get_height() for patch in accuracy.patches) == pytest.approx([55, 55, 65, 65, 75, 75])
    assert [patch.get_height() for patch in ece.patches] == pytest.approx([0.1] * 6)
    assert [text.get_text() for text in bars.legends[0].get_texts()] == ["ICL", "SFT", "own"]
    titles = ["all tasks and N", "sst2, N = 4", "sst2, N = 8"]
    assert [axes.get_title(loc="left") for axes in layers.axes if axes.axison] == titles
    # in-context learning is what it is compared with
    assert len(layers.axes[0].lines) == 2
    assert list(layers.axes[0].lines[0].get_ydata()) == [0.4, 0.6]
    assert [len(one.get_offsets()) for one in points.axes[0].collections] == [4, 4]
    assert sorted({float(y) for _, y in points.axes[0].collections[0].get_offsets()}) == pytest.approx([60, 70])


def test_what_was_not_measured_has_no_figure():
    (bars,) = study_figures(cells([record("zero-shot", 0.5, ece=None)])).values()
    assert len(bars.figure.axes) == 1


def test_methods_of_a_users_own_have_no_colour_of_another():
    methods = ("ia2+sft", "sft-ia2", "own", "other")
    (bars, *_) = study_figures(cells([record(method, 0.5) for method in methods])).values()
    assert len({patch.get_facecolor() for patch in bars.figure.axes[0].patches}) == len(methods)


def test_there_is_no_bar_where_nothing_was_measured():
    bars, *_ = study_figures(cells([record("sft", 0.5, n=4), record("ia2", 0.5, n=8)])).values()
    heights = [patch.get_height() for patch in bars.figure.axes[0].patches]
    assert heights == pytest.approx([50, math.nan, math.nan, 50], nan_ok=True)


def test_from_three_sizes_on_there_is_a_trend_of_each_task():
    records = [
        record(method, value + n / 100, seed=seed, n=n, **where)
        for method, value in (("icl", 0.5), ("ia2", 0.6))
        for seed in (0, 1)
        for n in (2, 4, 16)
        for where in ({}, {"eval": "poems"})
    ]
    found = study_figures(cells(records))
    (trend,) = [drawn.figure for name, drawn in found.items() if name.startswith("Accuracy and ECE as N grows")]
    assert [axes.get_title(loc="left") for axes in trend.axes if axes.axison][:3] == [
        "all tasks",
        "sst2",
        "sst2 → poems*",
    ]
    icl, ia2 = trend.axes[1].lines
    assert list(icl.get_xdata()) == [2, 4, 16]
    assert list(icl.get_ydata()) == pytest.approx([52, 54, 66])
    assert list(ia2.get_ydata()) == pytest.approx([62, 64, 76])


def test_many_tasks_stand_in_several_rows_on_one_scale():
    tasks = ["sst2", *"abcde"]
    found = study_figures(cells([record("sft", 0.5, eval=task) for task in tasks]))
    figure = next(iter(found.values())).figure
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(shown) == 2 * 7
    assert figure.get_figwidth() < 15
    assert {axes.get_ylim() for axes in shown if axes.get_ylabel() == "accuracy %"} == {(0, 100)}
    assert len({axes.get_ylim()[0] for axes in shown}) == 1


def test_responses_of_many_tokens_have_a_curve_of_tokens():
    records = [
        changed(measured("sft", seed, 0.5, 4), metrics={"asim_by_token": curve})
        for seed, curve in enumerate(([0.9, 0.7, 0.5], [0.7, 0.5]))
    ]
    found = study_figures(cells(records))
    (name,) = [name for name in found if name.startswith("Similarity to ICL by response token")]
    (line,) = found[name].figure.axes[0].lines
    assert list(line.get_xdata()) == [1, 2, 3]
    assert list(line.get_ydata()) == pytest.approx([0.8, 0.6, 0.5])


def test_a_task_of_texts_beside_one_of_labels_has_points_of_accuracy_alone():
    texts = {"train": "gsm8k", "eval": "gsm8k", "ece": None}
    found = study_figures(cells([measured("sft", seed, 0.5, 4, **more) for seed in (0, 1) for more in ({}, texts)]))
    (points,) = [drawn.figure for name, drawn in found.items() if name.startswith("Accuracy and ECE against")]
    accuracy, ece = (axes.collections[0].get_offsets() for axes in points.axes)
    assert len(accuracy) == 4
    assert [(float(x), float(y)) for x, y in ece] == [(0.5, 0.1), (0.5, 0.1)]


@pytest.mark.parametrize("first", ["gsm8k", "sst2"])
def test_a_task_of_texts_beside_one_of_labels_has_no_axes_of_ece(first):
    own = {"gsm8k": {"train": "gsm8k", "eval": "gsm8k", "ece": None}, "sst2": {}}
    tasks = sorted(own, key=lambda task: task != first)
    found = study_figures(cells([record("sft", 0.5, n=n, **own[task]) for task in tasks for n in (2, 4, 8)]))
    assert len(found) == 2
    for drawn in found.values():
        drawn.figure.draw_without_rendering()
        shown = {axes for axes in drawn.figure.axes if axes.axison}
        assert len([axes for axes in drawn.figure.axes if axes.get_title(loc="left") == "gsm8k"]) == 1
        # of accuracy and ECE for all tasks and sst2, of accuracy for gsm8k
        assert len(shown) == 5


def test_all_tasks_of_a_model_are_averaged_as_in_figure_1():
    # set means 0.5 and 0.7 of two tasks that both methods have: 60, deviation 0.1 √2; poems counts not, as icl lacks it
    records = [
        record(method, value + shift, seed=seed, eval=task)
        for method in ("icl", "sft")
        for task, value in (("sst2", 0.5), ("finsen", 0.7))
        for seed, shift in enumerate((-0.1, 0.1))
    ]
    records.append(record("sft", 1.0, eval="poems"))
    found = study_figures(cells(records))
    assert [name for name in found if "all models" in name] == []
    drawn = next(iter(found.values()))
    assert drawn.figure.axes[0].get_title(loc="left") == "all tasks"
    assert [patch.get_height() for patch in drawn.figure.axes[0].patches] == pytest.approx([60, 60])
    (bar, *_) = (one for one in drawn.figure.axes[0].containers if isinstance(one, ErrorbarContainer))
    ((low, high),) = bar.lines[2][0].get_segments()
    assert (low[1], high[1]) == pytest.approx((60 - 10 * 2**0.5, 60 + 10 * 2**0.5))
    assert "all tasks: mean" in drawn.caption


def test_numbers_of_rows_below_bars_stand_apart():
    found = study_figures(cells([record("sft", 0.5, n=2**power) for power in range(1, 8)]))
    figure = next(iter(found.values())).figure
    figure.draw_without_rendering()
    labels = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(labels) == 7
    assert all(left.x1 < right.x0 for left, right in pairwise(labels))


def test_several_models_have_a_figure_of_all_of_them():
    records = [record("sft", value, model=model) for model, value in (("small", 0.5), ("large", 0.8))]
    *others, (name, drawn) = study_figures(cells(records)).items()
    assert name == "Accuracy and ECE by N: all models, lora, ground-truth labels"
    assert [patch.get_height() for patch in drawn.figure.axes[0].patches] == pytest.approx([65])
    assert not any("all tasks" in other.caption for _, other in others)


def test_layers_of_all_tasks_are_averaged_as_in_figure_2():
    curves = {("sst2", 4): [0.1, 0.3], ("sst2", 8): [0.3, 0.5], ("finsen", 4): [0.5, 0.7]}
    records = [
        changed(measured("ia2", 0, 0.5, n, labels=None, train=task, eval=task), metrics={"asim_by_layer": curve})
        for (task, n), curve in curves.items()
    ]
    # a place that not all methods have counts not
    records += [measured("sft", 0, 0.5, 4, train=task, eval=task) for task in ("sst2", "finsen")]
    found = study_figures(cells(records))
    (layers,) = [drawn.figure for name, drawn in found.items() if name.startswith("Similarity to ICL by layer")]
    assert layers.axes[0].get_title(loc="left") == "all tasks and N"
    sft, ia2 = layers.axes[0].lines
    assert list(ia2.get_ydata()) == pytest.approx([0.3, 0.5])
    assert list(sft.get_ydata()) == pytest.approx([0.4, 0.6])
