import pytest

from ia2.errors import InputError
from ia2.tasks.benchmark import DEFAULTS, Benchmark, BenchmarkOptions
from ia2.tasks.task import Example

TOY = Benchmark(
    name="toy",
    paper_name="T",
    description="a benchmark of nothing",
    hub="nobody/toy",
    folder="toy",
    columns={"text": str},
    example=lambda row, options: Example(row["text"][: options.text_limit], "0"),
    labels=("0", "1"),
    words={"0": " no", "1": " yes"},
    options=frozenset({"text_limit", "label_words"}),
)


def test_options_that_were_changed_are_known_by_name():
    assert DEFAULTS.changed == frozenset()
    assert BenchmarkOptions(text_limit=None, label_words="natural").changed == {"text_limit", "label_words"}


def test_only_options_that_mean_something_are_a_benchmarks_own():
    asked = BenchmarkOptions(text_limit=3, blank_lines="single")
    assert TOY.relevant(asked) == BenchmarkOptions(text_limit=3)
    TOY.check(TOY.relevant(asked))
    with pytest.raises(InputError, match="toy: this task has no option blank_lines"):
        TOY.check(asked)


def test_labels_stand_as_numbers_or_words():
    assert TOY.labels_of(DEFAULTS) == ("0", "1")
    assert TOY.labels_of(BenchmarkOptions(label_words="natural")) == (" no", " yes")
    assert TOY.response("1", DEFAULTS) == "1"
