import re

import pytest
from matplotlib.figure import Figure

from ia2.reports.figures.dark import LIGHT_TO_DARK, dark_style, following_page
from ia2.reports.figures.reliability import COLOURS, svg_of
from ia2.reports.figures.study_figures import OTHER_COLOURS


def luminance(colour):
    """Relative luminance by WCAG 2."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_colour_of_a_method_has_one_in_the_dark():
    assert {colour.lower() for colour in (*COLOURS.values(), *OTHER_COLOURS)} <= LIGHT_TO_DARK.keys()


@pytest.mark.parametrize("colour", sorted(LIGHT_TO_DARK.keys() - {"#ffffff"}))
def test_a_colour_is_seen_on_the_dark_ground(colour):
    # WCAG's least contrast of graphics is 3
    ground, drawn = (luminance(LIGHT_TO_DARK[each]) for each in ("#ffffff", colour))
    assert (drawn + 0.05) / (ground + 0.05) >= 3


def test_colours_become_variables_that_are_themselves_by_default():
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], color=COLOURS["sft"])
    axes.plot([0, 2], color="#123456")
    text = following_page(svg_of(figure))
    assert "stroke: var(--drawn-d55e00, #d55e00)" in text
    assert "fill: var(--drawn-ffffff, #ffffff)" in text
    # a colour that has none in the dark stays
    assert "stroke: #123456" in text
    assert set(re.findall(r": (#[0-9a-f]{6})", text)) == {"#123456"}
    assert "--drawn-d55e00: #f0803c;" in dark_style()
