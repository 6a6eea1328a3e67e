"""The description of a benchmark, and options where PROTOCOL and the published scripts build queries differently."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from ia2.errors import InputError
from ia2.tasks.answers import PUBLISHED, AnswerKind
from ia2.tasks.task import Example

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """Options that follow the published scripts where PROTOCOL's default differs from them."""

    blank_line_before_answer: bool = False
    """Multiple choice: put a blank line between the choices and `Answer:`, as the scripts do."""
    text_limit: int | None = 256
    """bbcnews: cut articles to this many characters and drop the last, incomplete word; None keeps them whole."""
    poems_rows: Literal["all", "train"] = "all"
    """poems: evaluate all 359 rows, or the 288 of the train split, as in the paper."""
    sciq_rows: Literal["test", "validation"] = "test"
    """sciq and sciq_remap: the split to evaluate."""
    keep_empty_support: bool = False
    """sciq: keep rows with an empty support, as the scripts do."""
    blank_lines: Literal["kept", "single"] = "kept"
    """hmath_algebra: keep blank lines in a solution, where the stop string cuts it, or make them single line breaks."""
    answers: Literal["normalised", "published"] = "normalised"
    """gsm8k, gsm8k_symbolic, hmath_algebra and sciq: extract answers as `ia2.tasks.answers` does, or as the scripts."""
    label_words: Literal["numbers", "natural"] = "numbers"
    """Tasks whose labels are numbers in the paper: use the numbers, or words for their meaning."""

    @property
    def changed(self) -> frozenset[str]:
        """Names of the options that differ from PROTOCOL's defaults."""
        return frozenset(option.name for option in fields(self) if getattr(self, option.name) != option.default)


DEFAULTS = BenchmarkOptions()


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark: its source, its columns, and how a row becomes a query and a response."""

    name: str
    """The task's name in this project."""
    paper_name: str
    """The name that the paper uses."""
    description: str
    """One-line description for users."""
    hub: str
    """Dataset id on the Hugging Face hub."""
    folder: str
    """Name of the folder that holds its local files."""
    columns: Mapping[str, type]
    """Required columns and the Python type of each."""
    example: Callable[[Row, BenchmarkOptions], Example | None]
    """Convert a row to a query and a response, with the label as in `labels`; None for rows that the paper drops."""
    labels: tuple[str, ...] = ()
    """All possible responses; empty for free text."""
    words: Mapping[str, str] = field(default_factory=dict)
    """Natural-language word for each numeric label."""
    config: str | None = None
    """Dataset configuration on the hub."""
    hub_folder: str | None = None
    """Data folder on the hub, for datasets with one folder per configuration instead of named configurations."""
    revision: str | None = None
    """Branch on the hub; datasets that are loading scripts are read from the branch converted to Parquet."""
    train: tuple[str, ...] = ("train",)
    """Hub splits to train on."""
    evaluation: tuple[str, ...] = ("test",)
    """Hub splits to evaluate; if empty, rows of `train` are held out."""
    evaluation_only: bool = False
    """Whether the paper only evaluates on this benchmark."""
    all_local_files: bool = False
    """Whether the local train.jsonl and test.jsonl are both evaluated."""
    answer: AnswerKind = "text"
    """How the answer is extracted from a free-text response by default."""
    max_new_tokens: int = 1
    """Maximum length of a generated response, in tokens."""
    teacher_tokens: int | None = None
    """Maximum length of the teacher's response, if it differs."""
    asks_of_texts: bool = False
    """Whether a query is a bare text, in the form used for unlabelled texts, rather than a question or a choice."""
    options: frozenset[str] = frozenset()
    """Names of the `BenchmarkOptions` that apply to this benchmark."""

    def labels_of(self, options: BenchmarkOptions) -> tuple[str, ...]:
        """All possible responses under these options; empty for free text."""
        return tuple(self.response(label, options) for label in self.labels)

    def response(self, label: str, options: BenchmarkOptions) -> str:
        """A label as written in a response: the number, or its word."""
        return self.words.get(label, label) if options.label_words == "natural" else label

    def answer_kind(self, options: BenchmarkOptions) -> AnswerKind:
        """How the answer is extracted from a free-text response under these options."""
        return PUBLISHED[self.answer] if options.answers == "published" else self.answer

    def relevant(self, options: BenchmarkOptions) -> BenchmarkOptions:
        """The options with those that don't apply to this benchmark reset to their defaults."""
        return replace(DEFAULTS, **{name: getattr(options, name) for name in self.options})

    def measured(self, options: BenchmarkOptions) -> tuple[str, ...]:
        """Hub splits to evaluate under these options."""
        if "poems_rows" in self.options and options.poems_rows == "train":
            return ("train",)
        if "sciq_rows" in self.options:
            return (options.sciq_rows,)
        return self.evaluation

    def check(self, options: BenchmarkOptions) -> None:
        """Refuse an option that would have no effect.

        Raises:
            InputError: an option that doesn't apply to this benchmark was changed.
        """
        for name in sorted(options.changed - self.options):
            raise InputError(f"{self.name}: this task has no option {name}.")
