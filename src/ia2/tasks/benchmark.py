"""What a benchmark is, and where PROTOCOL and the published scripts differ in how its rows become queries."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from ia2.errors import InputError
from ia2.tasks.answers import AnswerKind
from ia2.tasks.task import Example

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions:
    """Where PROTOCOL's default differs from the published scripts, theirs can be asked for."""

    blank_line_before_answer: bool = False
    """Multiple choice: a blank line between the choices and `Answer:`, as in the scripts."""
    text_limit: int | None = 256
    """bbcnews: characters that an article is cut to, less its last word; None leaves it whole."""
    poems_rows: Literal["all", "train"] = "all"
    """poems: all 359 rows are measured, or the 288 of the train split, as in the paper."""
    sciq_rows: Literal["test", "validation"] = "test"
    """sciq and sciq_remap: the split that is measured."""
    keep_empty_support: bool = False
    """sciq: keep the rows whose support is empty, as the scripts do."""
    blank_lines: Literal["kept", "single"] = "kept"
    """hmath_algebra: blank lines in a solution, where the stop string would cut it, are kept or made line breaks."""
    label_words: Literal["numbers", "natural"] = "numbers"
    """Tasks whose labels are numbers in the paper: the numbers, or words for what they mean."""

    @property
    def changed(self) -> frozenset[str]:
        """The names of those that aren't as PROTOCOL has them."""
        return frozenset(option.name for option in fields(self) if getattr(self, option.name) != option.default)


DEFAULTS = BenchmarkOptions()


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """One benchmark."""

    name: str
    """Our name."""
    paper_name: str
    """The paper's."""
    description: str
    """One line for people."""
    hub: str
    """Its id on the hub."""
    folder: str
    """Its folder of local files."""
    columns: Mapping[str, type]
    """The columns that are read, and what each holds."""
    example: Callable[[Row, BenchmarkOptions], Example | None]
    """A row as query and response, the label as in `labels`; None where the paper leaves such rows out."""
    labels: tuple[str, ...] = ()
    """The responses there are; empty for free text."""
    words: Mapping[str, str] = field(default_factory=dict)
    """What labels that are numbers mean, in words."""
    config: str | None = None
    """The hub's configuration."""
    hub_folder: str | None = None
    """The hub's folder, where its files name no configurations but lie in a folder of each."""
    revision: str | None = None
    """The hub's branch; datasets that are scripts there are read from its conversion to Parquet."""
    train: tuple[str, ...] = ("train",)
    """The hub's splits that may be trained on."""
    evaluation: tuple[str, ...] = ("test",)
    """The hub's splits that are measured; where it has none, rows of `train` are held out."""
    evaluation_only: bool = False
    """The paper only evaluates on it."""
    all_local_files: bool = False
    """Local train.jsonl and test.jsonl are both measured."""
    answer: AnswerKind = "text"
    """How the answer is found in a response of free text."""
    max_new_tokens: int = 1
    """How long a generated response may get."""
    teacher_tokens: int | None = None
    """How long the teacher's may get, where that is another length."""
    asks_of_texts: bool = False
    """Whether a query is a text alone, as unlabelled texts are asked; else it is a question, or has choices."""
    options: frozenset[str] = frozenset()
    """The options that mean something here."""

    def labels_of(self, options: BenchmarkOptions) -> tuple[str, ...]:
        """The responses there are."""
        return tuple(self.response(label, options) for label in self.labels)

    def response(self, label: str, options: BenchmarkOptions) -> str:
        """A label as it stands in a response."""
        return self.words.get(label, label) if options.label_words == "natural" else label

    def relevant(self, options: BenchmarkOptions) -> BenchmarkOptions:
        """The same options without those that mean nothing here."""
        return replace(DEFAULTS, **{name: getattr(options, name) for name in self.options})

    def measured(self, options: BenchmarkOptions) -> tuple[str, ...]:
        """The hub's splits that are measured."""
        if "poems_rows" in self.options and options.poems_rows == "train":
            return ("train",)
        if "sciq_rows" in self.options:
            return (options.sciq_rows,)
        return self.evaluation

    def check(self, options: BenchmarkOptions) -> None:
        """Refuse an option that would do nothing.

        Raises:
            InputError: an option was changed that this benchmark doesn't have.
        """
        for name in sorted(options.changed - self.options):
            raise InputError(f"{self.name}: this task has no option {name}.")
