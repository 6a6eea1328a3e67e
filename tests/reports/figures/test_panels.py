from study_records import record

from ia2.reports.aggregate import cells
from ia2.reports.figures.panels import add_legend, measures_of, new_figure


def test_texts_have_no_ece():
    assert measures_of(cells([record("sft", 0.5, ece=None)])) == ["accuracy"]
    assert measures_of(cells([record("sft", 0.5)])) == ["accuracy", "ece"]


def test_a_figure_has_its_size_and_one_legend_with_each_name_once():
    figure = new_figure(3.0, 2.0)
    assert tuple(figure.get_size_inches()) == (3.0, 2.0)
    both = figure.subplots(1, 2)
    for axes in both:
        axes.plot([0, 1], [0, 1], label="SFT")
    add_legend(figure, list(both))
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["SFT"]
