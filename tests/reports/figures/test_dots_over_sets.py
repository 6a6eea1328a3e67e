import numpy as np
from pytest import approx
from study_records import changed, record

from ia2.reports.figures.dots_over_sets import dots_over_sets
from ia2.reports.over_sets import OverSets


def measured(method, correct, confidence):
    rights = np.array(correct, dtype=bool)
    records = [changed(record(method, 0.5, seed=seed), metrics={"prompt_tokens": 20.0}) for seed in range(len(rights))]
    return OverSets(tuple(records), rights, np.full(rights.shape, confidence))


def test_each_method_has_its_mean_interval_and_sets_in_both_panels():
    tuned = measured("sft", [[1, 1, 1, 0], [1, 0, 0, 0]], 0.75)
    aligned = measured("ia2-sft", [[1, 1, 1, 1], [1, 1, 0, 0]], 1.0)
    figure = dots_over_sets({"first": [tuned, aligned], "second": [aligned]})
    accuracies, errors, below, _ = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["first", "", "second", ""]
    assert [label.get_text() for label in accuracies.get_yticklabels()] == ["SFT   20 tokens", "IA2→SFT   20 tokens"]
    assert [label.get_text() for label in below.get_yticklabels()] == ["IA2→SFT   20 tokens"]
    interval, mean, sets = (list(line.get_xdata()) for line in accuracies.lines[:3])
    assert interval == [approx(100 * end) for end in tuned.accuracy_interval]
    assert mean == [approx(50.0)]
    assert sets == [approx(75.0), approx(25.0)]
    # |0.75 - 0.75| and |0.25 - 0.75|, their mean between them
    _, mean, sets = (list(line.get_xdata()) for line in errors.lines[:3])
    assert (mean, sets) == ([approx(0.25)], [approx(0.0), approx(0.5)])
    # the first method stands on top
    low, high = accuracies.get_ylim()
    assert low > high
