import pytest

from ia2.tasks.formulas import balanced, boxed, braced_fractions, formula


def test_balanced_braces_are_counted_and_escaped_ones_are_not():
    text = r"\frac{a{b}\}c}{d}"
    assert balanced(text, text.index("{")) == r"a{b}\}c"
    assert balanced("{open", 0) is None


@pytest.mark.parametrize(
    ("text", "inside"),
    [(r"\boxed{1} and \fbox{2}", "2"), (r"\boxed{1} and \boxed{", "1"), (r"\boxed{}", None), ("1", None)],
)
def test_the_last_closed_box_that_holds_something(text, inside):
    assert boxed(text) == inside


def test_a_formula_loses_what_changes_its_look_alone():
    assert formula(r"\left( 1,000\,, \text{a b} \right).") == "(1000,ab)"
    assert formula("3 1/2") == r"3\frac{1}{2}"


def test_fractions_get_the_braces_that_tex_reads():
    assert braced_fractions(r"\dfrac12 + \tfrac{1}3") == r"\frac{1}{2} + \frac{1}{3}"
