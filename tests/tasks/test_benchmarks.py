import pytest

from ia2.errors import InputError
from ia2.tasks.benchmark import DEFAULTS, BenchmarkOptions
from ia2.tasks.benchmarks import BENCHMARKS, REMAPPED


def example(name, options=DEFAULTS, **row):
    return BENCHMARKS[name].example(row, options)


def pair(made):
    return made.query, made.response


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("sst2", {"sentence": "a joy ", "label": 1}, ("Text:a joy \nLabel:", "1")),
        ("finsen", {"sentence": "Profit fell .", "label": 0}, ("Text:Profit fell .\nLabel:", "0")),
        ("finsen", {"sentence": "Profit rose .", "label": 2}, ("Text:Profit rose .\nLabel:", "1")),
        ("poems", {"verse_text": "dark", "label": 0}, ("Text:dark\nLabel:", "0")),
        ("strategytf", {"question": "Is it?", "answer": True}, ("Question:Is it?\nAnswer:", "1")),
        ("strategytf", {"question": "Is it?", "answer": False}, ("Question:Is it?\nAnswer:", "0")),
        ("agnews", {"text": "Goal", "label": 1}, ("Text:Goal\nLabel:", "1")),
        ("gsm8k", {"question": "2+2?", "answer": "4\n#### 4"}, ("Question:2+2?\nAnswer:", "4\n#### 4")),
        ("hmath_algebra", {"problem": "x", "solution": "\\boxed{1}"}, ("Question:x\nAnswer:", "\\boxed{1}")),
        ("sciq", {"question": "q", "support": "s", "correct_answer": "a"}, ("Question:q\nAnswer:", "s\n#### a")),
    ],
)
def test_rows_become_the_prompts_of_the_protocol(name, row, expected):
    assert pair(example(name, **row)) == expected


def test_rows_that_the_paper_leaves_out_are_left_out():
    assert example("finsen", sentence="The company is in Espoo .", label=1) is None
    assert example("poems", verse_text="and so", label=2) is None
    assert example("poems", verse_text="and so", label=3) is None
    empty = {"question": "q", "support": "", "correct_answer": "a"}
    assert example("sciq", **empty) is None
    assert example("sciq", BenchmarkOptions(keep_empty_support=True), **empty).response == "\n#### a"


@pytest.mark.parametrize(("label", "ours"), [(0, "3"), (1, "2"), (2, "1"), (3, "0"), (4, "0")])
def test_bbc_classes_are_those_of_agnews(label, ours):
    assert example("bbcnews", text="short", label=label) == example("agnews", text="short", label=int(ours))


def test_bbc_articles_are_cut_to_256_characters_less_the_last_word():
    text = "word " * 100
    assert example("bbcnews", text=text, label=0).query == f"Text:{text[:254]}\nLabel:"
    assert example("bbcnews", BenchmarkOptions(text_limit=12), text=text, label=0).query == "Text:word word\nLabel:"
    assert example("bbcnews", BenchmarkOptions(text_limit=None), text=text, label=0).query == f"Text:{text}\nLabel:"
    assert example("bbcnews", text="short text", label=0).query == "Text:short text\nLabel:"


SCIQ = {"question": "Q?", "correct_answer": "right", "distractor1": "a", "distractor2": "b", "distractor3": "c"}


def test_choices_are_shuffled_by_the_row_and_named_by_unrelated_words():
    made = example("sciq_remap", **SCIQ)
    lines = made.query.split("\n")
    assert (lines[0], lines[1], lines[-1]) == ("Question:Q?", "Choices:", "Answer:")
    choices = dict(line.removeprefix("[").split("]") for line in lines[2:-1])
    assert tuple(choices) == REMAPPED[:4] == ("apple", "Friday", "banana", "Saturday")
    assert sorted(choices.values()) == ["a", "b", "c", "right"]
    assert choices[made.response] == "right"
    assert example("sciq_remap", **SCIQ) == made
    answers = {example("sciq_remap", **{**SCIQ, "question": f"Q{index}?"}).response for index in range(40)}
    assert answers == set(REMAPPED[:4])


def test_the_scripts_blank_line_can_be_asked_for():
    made = example("sciq_remap", BenchmarkOptions(blank_line_before_answer=True), **SCIQ)
    assert made.query == example("sciq_remap", **SCIQ).query.replace("\nAnswer:", "\n\nAnswer:")


def test_qasc_has_eight_choices():
    texts = [f"choice {index}" for index in range(8)]
    made = example("qasc_remap", question="Q?", choices={"text": texts, "label": list("ABCDEFGH")}, answerKey="C")
    line = next(line for line in made.query.split("\n") if line.startswith(f"[{made.response}]"))
    assert line.endswith("]choice 2")
    assert made.query.count("]choice ") == 8


def test_an_option_that_would_do_nothing_is_refused():
    with pytest.raises(InputError, match="sst2: this task has no option text_limit"):
        BENCHMARKS["sst2"].check(BenchmarkOptions(text_limit=10))
    BENCHMARKS["bbcnews"].check(BenchmarkOptions(text_limit=10))


def test_there_are_the_papers_twelve():
    assert [benchmark.paper_name for benchmark in BENCHMARKS.values()] == [
        "SST2", "FinS", "PoemS", "STF", "AGN", "BBCN", "SciQr", "QASCr", "GSM8K", "GSM8Ks", "HMathA", "SciQ"
    ]  # fmt: skip
    evaluated = {name for name, benchmark in BENCHMARKS.items() if benchmark.evaluation_only}
    assert evaluated == {"poems", "bbcnews", "qasc_remap", "gsm8k_symbolic"}
