import json
import threading

import pytest
from conftest import real_data

from ia2.tasks.answers import FINDERS, equivalent, find_boxed, find_marked, find_number, find_text
from ia2.tasks.benchmark import DEFAULTS
from ia2.tasks.benchmarks import BENCHMARKS


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("4 + 3 = <<4+3=7>>7 apples.\n#### 7", "7"),
        ("#### 1,234", "1234"),
        ("####\n7\n8", "7"),
        ("#### 1,234,567.50", "1234567.5"),
        ("#### $18", "18"),
        ("#### $1,018.", "1018"),
        ("#### €5 a week", "5"),
        ("#### -3", "-3"),
        ("#### −3", "-3"),
        ("#### -$3.50", "-3.5"),
        ("#### $-3", "-3"),
        ("#### 1/2", "1/2"),
        ("#### 2/4 of it", "1/2"),
        ("#### 6/3", "2"),
        ("#### 37.5", "37.5"),
        ("#### 35.0", "35"),
        ("#### 0.50", "0.5"),
        ("#### .5", "0.5"),
        ("#### -0", "0"),
        ("#### 100.", "100"),
        ("#### 1000000", "1000000"),
        ("#### 20%", "20"),
        ("#### **42**", "42"),
        # whole or not at all
        ("#### 1,2345", None),
        ("#### 12,34", None),
        ("#### 3,5", None),
        ("#### 1,2,3", None),
        ("#### 1,234,56", None),
        ("#### 1,234.5.6", None),
        ("#### 1.2.3", None),
        ("#### 5/0", None),
        ("On 1/2/2020", None),
        ("She has 4, not 1,2345", "4"),
        ("#### 1,00,000", "100000"),
        ("#### 12,34,567.5", "1234567.5"),
        ("#### 1/1,000", "1/1000"),
        ("#### 5,-3", "5"),
        ("5,-3", "-3"),
        ("#### 5, 6", "5"),
        ("#### 5kg", "5"),
        ("#### 60/hour", "60"),
        ("#### 1\\,000\\,000", "1000000"),
        ("#### 1{,}000", "1000"),
        ("#### 1\u202f000", "1000"),
        ("#### 3 1/2", "7/2"),
        ("#### -3 1/2", "-7/2"),
        ("#### 1,000 1/2 cups", "2001/2"),
        ("She has 3 1/2", "7/2"),
        ("She has 24 6/3", "2"),
        ("#### 12\n1/2", "12"),
        ("#### 3\\frac{1}{2}", "7/2"),
        ("\\boxed{3\\frac12}", "7/2"),
        ("\\boxed{3 1/2}", "7/2"),
        ("\\boxed{3, 125}", "3"),
        ("\\boxed{3,\\ 125}", "3"),
        ("\\boxed{1,\\!000} or \\fbox{ 1{,}250 }", "1250"),
        ("\\boxed{- 5}", "-5"),
        ("#### \\frac{-7}{2}", "-7/2"),
        ("#### \\frac{7}{-2}", "-7/2"),
        ("#### -\\frac{-7}{2}", "7/2"),
        ("#### -\\dfrac{ 7 }{ 2 }", "-7/2"),
        ("#### \\frac12", "1/2"),
        ("#### \\frac{1.5}{1,000}", "3/2000"),
        ("#### \\frac{1}{2}3", "1/2"),
        ("She has 2*3", "3"),
        ("She has 5 * -3", "-3"),
        ("#### -**5**", "-5"),
        ("#### **-5** apples", "-5"),
        ("#### *$1,234.*", "1234"),
        ("#### 1.5e3", "1500"),
        ("#### -2E-3 m", "-0.002"),
        ("#### 1e3/4", "250"),
        ("#### 5 eggs", "5"),
        ("#### 5eggs", "5"),
        ("#### 1.5e3000", None),
        # the order of phrasings
        ("The answer is 5.\n#### 7", "7"),
        ("So \\boxed{1} or \\boxed{12}. The answer is 5", "12"),
        ("\\boxed{\\frac{1}{2}}", "1/2"),
        ("The answer is 3. No, the answer is 4 apples, and 9 pears are left", "4"),
        ("Answer: she has $12.", "12"),
        ("The final answer = 12", "12"),
        ("the answer is clear: 8", "8"),
        ("the answer isn't 5, it is 6", "6"),
        ("The answer is not 5, it is 6", "6"),
        ("The answer is 4. The answer is not 5, but 6 is near", "4"),
        ("The answer is notably small: 5. No 6", "5"),
        ("The answer is5, not 6", "5"),
        ("The answer is x2 = 7", "7"),
        ("She has 3 apples and buys 4, so 7 in all.", "7"),
        # a sign touches its number and stands between no two
        ("It takes 5-3 days", None),
        ("It takes 5 - 3 days", "3"),
        ("It takes 5 -3 days", "3"),
        ("She pays $5 -$3", "3"),
        ("- 5 apples\n- 7 pears", "7"),
        ("- red: 4\n- 12", "12"),
        ("- 1/2 cup", "1/2"),
        ("-12", "-12"),
        ("It falls by 4\n-12", "-12"),
        ("5 + 3 - 20 = -12", "-12"),
        ("3 - -12", "-12"),
        ("-$5", "-5"),
        ("$-5", "-5"),
        ("$ 5", "5"),
        ("-$ 5", "-5"),
        ("#### none\nThe answer is 6", "6"),
        ("nobody knows", None),
        ("", None),
        # what stands behind another question belongs to it
        ("#### 12\nQuestion:How many?\nAnswer:3\n#### 3", "12"),
        ("It is 12\nQuestion:How many?\nAnswer:3\n#### 3", "12"),
        ("Question:How many?\nAnswer:3\n#### 3", None),
    ],
)
def test_numbers(response, number):
    assert find_number(response) == number


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        (r"We get $\boxed{25}$.", "25"),
        (r"First \boxed{1}, then $x = \boxed{\frac{3}{\sqrt{2}}}$.", r"\frac{3}{\sqrt{2}}"),
        (r"\boxed{\{1, 2\}} and so on", r"\{1,2\}"),
        (r"\boxed{\left(-\infty, 2\right]}", r"(-\infty,2]"),
        (r"\boxed{x \rightarrow 2}", r"x\rightarrow2"),
        (r"\boxed{x \leftarrow 2}", r"x\leftarrow2"),
        (r"\boxed{a \leftrightarrow\left[b\right)}", r"a\leftrightarrow[b)"),
        (r"\boxed{\dfrac12}", r"\frac{1}{2}"),
        (r"\boxed{\frac1{2}}", r"\frac{1}{2}"),
        (r"\boxed{\frac{1}2}", r"\frac{1}{2}"),
        (r"\boxed{\frac 35}", r"\frac{3}{5}"),
        (r"\boxed{\frac 3 5}", r"\frac{3}{5}"),
        (r"\boxed{-\frac{\sqrt{6}}3x}", r"-\frac{\sqrt{6}}{3}x"),
        (r"\boxed{\cfrac{\tfrac12}3}", r"\frac{\frac{1}{2}}{3}"),
        (r"\boxed{\frac{1}{2}3}", r"\frac{1}{2}3"),
        (r"\boxed{3 1/2}", r"3\frac{1}{2}"),
        (r"\boxed \frac{1", r"\frac{1"),
        (r"\boxed{1,\!000}", "1000"),
        (r"\boxed{1{,}000,000}", "1000000"),
        (r"\boxed{\$1,234.50}", "1234.50"),
        (r"\boxed{(1, 234)}", "(1,234)"),
        (r"\boxed{3, 125}", "3,125"),
        (r"\boxed{3,\ 125,\,250}", "3,125,250"),
        (r"\boxed{3,125, 4}", "3125,4"),
        (r"\boxed{1,2,345}", "1,2,345"),
        (r"\boxed{\$12.50}", "12.50"),
        (r"\boxed{10\text{ cm}}", "10cm"),
        (r"\boxed{\text{10 \textbf{cm}}}", "10cm"),
        (r"\boxed{10\text{ cm$^{2}$}}", "10cm^{2}"),
        (r"\boxed{\mbox{a \text{b \mathrm{c}}} \text{d}}", "abcd"),
        (r"\boxed \text{5", r"\text{5"),
        (r"so $\boxed 5$", "5"),
        ("\\boxed 5\nSo done", "5"),
        ("\\boxed\t5\tSo done", "5"),
        ("\\boxed ", None),
        (r"\boxed $", None),
        (r"\fbox{7}", "7"),
        (r"\boxed{3} but \boxed{4", "3"),
        (r"\boxed{}", None),
        ("25", None),
        ("\\boxed{3}\nQuestion:What?\nAnswer:\\boxed{4}", "3"),
    ],
)
def test_the_last_balanced_box(response, answer):
    assert find_boxed(response) == answer


def test_marked_and_whole_texts():
    assert find_marked("Some support.\n#### carbon dioxide\nand more") == "carbon dioxide"
    assert find_marked("#### a #### b") == "a #### b"
    assert find_marked("no mark") is None
    assert find_marked("####\n") is None
    assert find_marked("####\n \ncarbon dioxide\nand more") == "carbon dioxide"
    assert find_marked("none\nQuestion:q\nAnswer:s\n#### recited") is None
    assert find_text("  a sentence.\n") == "a sentence."
    assert find_text("Summary\nText: a film") == "Summary\nText: a film"
    assert find_text(" \n") is None


@pytest.mark.parametrize(
    ("found", "right", "same"),
    [
        ("1/2", "0.5", True),
        ("x+1", "1+x", True),
        (r"\frac{3}{4}", "0.75", True),
        (r"(x-1)(x+1)", "x^2-1", True),
        ("3", "4", False),
        ("nonsense", "4", False),
        ("9^{9^{9^{9}}}", "4", False),
    ],
)
def test_answers_that_mean_the_same(found, right, same):
    assert equivalent(found, right) is same


@pytest.mark.filterwarnings("ignore")  # math-verify says that it can't interrupt itself in a thread
def test_equivalence_can_be_asked_in_any_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(equivalent("1/2", "0.5")))
    thread.start()
    thread.join()
    assert found == [True]


@real_data
@pytest.mark.parametrize(
    ("name", "count"), [("gsm8k", 3100), ("gsm8k_symbolic", 600), ("hmath_algebra", 2344), ("sciq", 887)]
)
def test_every_real_ground_truth_has_an_answer(name, count, data_dir):
    benchmark = BENCHMARKS[name]
    rows = [
        json.loads(line)
        for file in sorted((data_dir / benchmark.folder).glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").rstrip("\n").split("\n")
    ]
    examples = [example for row in rows if (example := benchmark.example(row, DEFAULTS)) is not None]
    assert len(examples) == count
    assert [one.response for one in examples if FINDERS[benchmark.answer](one.response) is None] == []


@pytest.mark.parametrize("kind", ["text", "marked"])
def test_an_accent_is_one_letter_however_it_is_written(kind):
    assert FINDERS[kind]("#### cafe\u0301") == FINDERS[kind]("#### caf\u00e9")
