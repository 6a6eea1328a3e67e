"""Each expected value was worked out by hand from the rules of the published scripts, mistakes included."""

import pytest
from conftest import real_data
from hypothesis import given
from hypothesis import strategies as st

from ia2.tasks.answers import find_boxed as find_boxed_normalised
from ia2.tasks.answers import find_number as find_number_normalised
from ia2.tasks.benchmark import BenchmarkOptions
from ia2.tasks.load import load_task
from ia2.tasks.published_answers import find_boxed, find_marked, find_number


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("4 + 3 = <<4+3=7>>7 apples.\n#### 7", "7"),
        ("#### 1,234", "1234"),
        ("####\n7\n8", "7"),
        ("#### 7\n#### 8", "8"),
        ("#### $18", "18"),
        ("#### 37.50", "37.5"),
        ("#### 35.0", "35"),
        # the sign is lost
        ("#### -3", "3"),
        ("The answer is -12.", "12"),
        # a number is read in parts
        ("#### 1/2", "1"),
        ("#### 3-4", "3"),
        ("#### 1,2345", "12345"),
        ("#### .5", "5"),
        # the order of the patterns, the last match of each
        ("So \\boxed{1}.\n#### 7", "1"),
        ("\\boxed{1} or \\boxed{12}", "12"),
        ("\\boxed{\\frac{1}{2}}", "1"),
        ("The answer is 5.\n#### 7", "7"),
        ("Answer: 3\nThe answer is 4", "3"),
        ("ANSWER: 3\nanswer: 5", "5"),
        ("The answer is 3. No, the answer is 4 apples, and 9 pears are left", "3"),
        ("The best answer is: 6", "6"),
        ("Her answer was 9", "9"),
        ("It costs $ 1,200.50 and $3", "3"),
        ("She has 5 eggs and 2 pears", "5"),
        ("5 EGGS and 6eggs of 9", "6"),
        # a phrase without a number is the answer, without what surrounds it
        ("The answer is forty.", "forty"),
        ("#### : $x,", "$x"),
        # the first comma counts as a number, which is none
        ("The answer is, I think, 5", ", I think, 5"),
        # without a phrase: the last number that is neither a year nor between 0 and 1
        ("She has 3 apples and buys 4, so 7 in all", "7"),
        ("It was 12 in 1999", "12"),
        ("It was 12 in 2101", "2101"),
        ("12 pears, 0.25 of them", "12"),
        ("It falls to 0", "0"),
        ("In 1999", "In 1999"),
        # numbers within words count only in lines that aren't long and hold no question mark
        ("x5 and y6\nIs it z7?", "6"),
        ("x5\n" + "y" * 200 + "6", "5"),
        ("nothing", "nothing"),
        ("  ", None),
        ("", None),
    ],
)
def test_numbers_are_read_as_by_the_scripts(response, number):
    assert find_number(response) == number


@pytest.mark.parametrize(
    ("response", "content"),
    [
        ("So $\\boxed{5}$.", "5"),
        ("\\boxed{\\dfrac{1}{ 2 }}", "\\frac{1}{2}"),
        ("\\boxed{x + 1}", "x+1"),
        # greedy: up to the last brace of the line
        ("\\boxed{5} in the set {1, 5}", "5}intheset{1,5"),
        ("\\boxed{1} or \\boxed{2}", "1}or\\boxed{2"),
        # the first line with a closed box
        ("\\boxed{1}\n\\boxed{2}", "1"),
        ("\\boxed{1\n\\boxed{2}", "2"),
        ("\\boxed 5", None),
        ("\\boxed{5", None),
        ("5", None),
    ],
)
def test_boxes_are_read_as_by_the_scripts(response, content):
    assert find_boxed(response) == content


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("Cells divide.\n#### mitosis", "mitosis"),
        ("#### one\n#### two", "two"),
        ("#### one\nmore", "one\nmore"),
        ("mitosis ", "mitosis"),
        ("text ####", None),
        ("", None),
    ],
)
def test_marked_answers_are_read_as_by_the_scripts(response, answer):
    assert find_marked(response) == answer


@given(st.text(alphabet="0123456789,.$-#{}\\boxedanswr isT:eg?\n", max_size=60))
def test_any_text_is_read(text):
    for find in (find_number, find_boxed, find_marked):
        found = find(text)
        assert found is None or found == found.strip()


@real_data
@pytest.mark.parametrize("name", ["gsm8k", "gsm8k_symbolic", "hmath_algebra", "sciq"])
def test_right_responses_have_an_answer(name, data_dir):
    task = load_task(name, data_dir=data_dir, options=BenchmarkOptions(answers="published"))
    find = {"gsm8k": find_number, "gsm8k_symbolic": find_number, "hmath_algebra": find_boxed, "sciq": find_marked}[name]
    assert task.answer.startswith("published-")
    for row in task.evaluation:
        assert find(row.response), row.response


@real_data
def test_the_parsers_agree_on_right_numbers_and_differ_on_some_right_formulas(data_dir):
    numbers = load_task("gsm8k", data_dir=data_dir).evaluation
    assert all(find_number(row.response) == find_number_normalised(row.response) for row in numbers)
    formulas = load_task("hmath_algebra", data_dir=data_dir).evaluation
    assert any(find_boxed(row.response) != find_boxed_normalised(row.response) for row in formulas)
