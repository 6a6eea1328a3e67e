"""Dark-mode colours of figures: each SVG colour becomes a variable of the page's style sheet."""

import re

LIGHT_TO_DARK = {
    # axes, text and in-context learning, and their background
    "#000000": "#e8e8ee",
    "#ffffff": "#16161a",
    # other baselines, and the diagonal of a reliability diagram
    "#7f7f7f": "#8f8f9a",
    "#525252": "#b4b4c0",
    "#999999": "#77777f",
    "#3b3b98": "#9a9aea",
    "#6a5acd": "#a59af0",
    "#a6761d": "#d3a24a",
    "#666600": "#b0b040",
    # methods and pairs of methods: the same hue, lighter
    "#d55e00": "#f0803c",
    "#56b4e9": "#6cc4f5",
    "#009e73": "#2cc295",
    "#e69f00": "#f0b030",
    "#0072b2": "#4aa3dd",
    "#cc79a7": "#dd92bb",
    "#17becf": "#35d0e0",
    "#7b3294": "#b57ccb",
    "#8c564b": "#c08b7f",
    "#b5bd00": "#c6ce2a",
    "#4b9cd3": "#7dbbe6",
    "#f4a582": "#f7bda3",
    "#bc80bd": "#d3a3d4",
    "#a65628": "#d68a5c",
}
"""The dark-mode colour of each colour used in figures."""


def following_page(svg: str) -> str:
    """Return a figure whose colours are variables of the page, with the original colours as fallback.

    Args:
        svg: an SVG written by matplotlib, with colours in style attributes.
    """
    return re.sub(
        r"(fill|stroke): (#[0-9a-f]{6})",
        lambda match: f"{match[1]}: var(--{variable(match[2])}, {match[2]})" if match[2] in LIGHT_TO_DARK else match[0],
        svg,
    )


def variable(colour: str) -> str:
    """Return the name of a colour's variable.

    Args:
        colour: six hexadecimal digits after a #.
    """
    return f"drawn-{colour[1:]}"


def dark_style() -> str:
    """Return the variables of a dark page, as declarations of a style sheet."""
    return " ".join(f"--{variable(light)}: {dark};" for light, dark in LIGHT_TO_DARK.items())
