import pytest
from study_records import changed, record

from ia2.reports.aggregate import cells
from ia2.reports.figures.scatter import against, correlations
from ia2.reports.figures.study_figures import study_figures


def measured(model, *triples):
    """A record for each set: its similarity, accuracy and ECE."""
    return [
        changed(record("sft", accuracy, seed=seed, model=model, ece=ece), metrics={"asim": asim})
        for seed, (asim, accuracy, ece) in enumerate(triples)
    ]


def test_a_correlation_worked_by_hand():
    # centred asim -1, 0, 1 (in tenths), accuracy -1, 1, 0: the products sum to 1, the squares to 2 and 2, so r = 1/2;
    # ECE falls as similarity rises, by equal steps: r = -1
    found = cells(measured("m", (0.1, 0.4, 0.3), (0.2, 0.6, 0.2), (0.3, 0.5, 0.1)))
    assert correlations(found) == [
        "Pearson's r between similarity and accuracy is +0.50 (3 points).",
        "Pearson's r between similarity and ECE is -1.00 (3 points).",
    ]


def test_of_two_points_or_equal_ones_there_is_no_correlation():
    assert correlations(cells(measured("m", (0.1, 0.4, 0.3), (0.2, 0.6, 0.2)))) == []
    alike = cells(measured("m", (0.1, 0.4, 0.3), (0.2, 0.4, 0.3), (0.3, 0.4, 0.3)))
    assert correlations(alike) == []


def test_points_of_all_models_are_one_figure_with_its_correlation():
    records = measured("m", (0.1, 0.4, 0.3), (0.2, 0.6, 0.2)) + measured("o", (0.3, 0.5, 0.1), (0.4, 0.7, 0.2))
    found = study_figures(cells(records))
    named = "Accuracy and ECE against similarity to ICL: all models, lora, ground-truth labels"
    (points,) = found[named].figure.axes[0].collections
    assert sorted(map(tuple, points.get_offsets().tolist())) == [
        pytest.approx(point) for point in ((0.1, 40.0), (0.2, 60.0), (0.3, 50.0), (0.4, 70.0))
    ]
    # asim -1.5, -0.5, 0.5, 1.5 and accuracy -1.5, 0.5, -0.5, 1.5: 4 / 5
    assert "accuracy is +0.80 (4 points)" in found[named].caption


def test_each_measure_has_axes():
    figure = against(cells(measured("m", (0.1, 0.4, 0.3))), ["sft"], {"sft": "#123456"})
    assert [axes.get_ylabel() for axes in figure.axes] == ["accuracy %", "ECE"]
