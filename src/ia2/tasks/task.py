"""The task type: rows as query and response text, and which of them may be trained on. Independent of models."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

from ia2.errors import InputError
from ia2.randomness import generator
from ia2.tasks.answers import AnswerKind

POOL_ROWS = 2000
EVALUATION_ROWS = 500


RowForm = Literal["labelled", "prompt", "instruction", "conversation"]
"""How a row of a user's file becomes a query and a response (`ia2.tasks.files.forms`)."""


@dataclass(frozen=True)
class Turn:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Dialogue(str):
    r"""A query of several conversation turns, for a chat template to render.

    As a string, for display, it is the turns joined by blank lines, each after its role. Equality and hash depend on
    the turns, because different turns can have the same string.

    Example:
        >>> str(Dialogue((Turn("system", "Be brief."), Turn("user", "Who are you?"))))
        'system: Be brief.\n\nuser: Who are you?'
    """

    turns: tuple[Turn, ...]
    """All turns; the last is the user's."""

    def __new__(cls, turns: Iterable[Turn]) -> "Dialogue":
        """Create the query from its turns."""
        parts = tuple(turns)
        query = super().__new__(cls, "\n\n".join(f"{turn.role}: {turn.content}" for turn in parts))
        query.turns = parts
        return query

    def __eq__(self, other: object) -> bool:
        """Whether the other is a dialogue of the same turns."""
        return isinstance(other, Dialogue) and self.turns == other.turns

    def __ne__(self, other: object) -> bool:
        """Whether the turns differ; `str` would compare characters."""
        return not self == other

    def __hash__(self) -> int:
        """Hash of the turns."""
        return hash(self.turns)

    def __repr__(self) -> str:
        """Represent it by its turns, so that cache keys and digests differ from those of a string of the same text."""
        return f"{type(self).__name__}({self.turns!r})"

    def __getnewargs__(self) -> tuple[tuple[Turn, ...]]:  # type: ignore[override]
        """Pickle by the turns, so that copies and other processes keep them."""
        return (self.turns,)


def turns_of(query: str) -> tuple[Turn, ...]:
    """Return the turns of a query; a plain string is a single user turn.

    Example:
        >>> turns_of("Who are you?")
        (Turn(role='user', content='Who are you?'),)
    """
    return query.turns if isinstance(query, Dialogue) else (Turn("user", query),)


@dataclass(frozen=True)
class Example:
    """A row: `query + response` is a demonstration, and `query` alone asks for a response."""

    query: str
    """Ends where the response begins, without a space: `Text:a film\\nLabel:`. A `Dialogue` holds earlier turns."""
    response: str
    """Follows the query directly: `1`, or ` positive` with its leading space."""


@dataclass(frozen=True)
class Instruction:
    """A text placed before the query, as demonstrations are: an instruction, a system prompt or a document."""

    text: str


ContextItem = Example | Instruction
"""An item of a prompt's context, before the query."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Training and evaluation rows (PROTOCOL: at most 2,000 and 500, with no text in both)."""

    name: str
    """Its name on the command line and in records, such as `sst2`."""
    description: str
    """One-line description for users."""
    source: str
    """Provenance of the rows, for the record: a hub dataset with its revision, or a folder or file, with a hash."""
    labels: tuple[str, ...] = ()
    """All possible responses, in the order of their ids; empty for free text."""
    pool: tuple[Example, ...] = ()
    """Rows that training sets, dev sets and demonstrations are drawn from; empty if the task only evaluates."""
    evaluation: tuple[Example, ...] = ()
    """Evaluation rows; empty for a single file, where the rows that a few-shot set leaves over are evaluated."""
    evaluation_only: bool = False
    """Whether the paper only evaluates on this task; training on it is then refused."""
    answer: AnswerKind = "text"
    """How the answer is extracted from a free-text response."""
    max_new_tokens: int = 1
    """Maximum length of a generated response, in tokens."""
    teacher_tokens: int | None = None
    """Maximum length of the teacher's response, in tokens; None for the same length."""
    stop: str | None = None
    """Text that ends a generated response, if it is longer than one token."""
    chat: bool = False
    """Whether queries and responses are turns in the model's chat template."""
    text_column: str | None = None
    """The column of the user's file that holds the texts."""
    as_written: bool = False
    """Whether rows keep the order of the user's file, which may be sorted by label; otherwise they are shuffled."""
    form: RowForm = "labelled"
    """How rows of the user's file became queries, so that further texts become queries the same way."""
    notes: tuple[str, ...] = ()
    """Choices made while the rows were read, one sentence each, to be printed once and recorded."""

    @property
    def response_kind(self) -> Literal["label", "text"]:
        """Whether a response is one of the labels or free text."""
        return "label" if self.labels else "text"

    @property
    def for_teacher(self) -> "Task":
        """A copy of the task with the teacher's maximum response length."""
        return replace(self, max_new_tokens=self.teacher_tokens or self.max_new_tokens)

    @property
    def teaches_the_end(self) -> bool:
        """Whether fine-tuning includes the end of the response: for free text, and for labels from a user's file.

        Plain generation with an adapter then stops after the label. The paper's labels have no end token.
        """
        return self.response_kind == "text" or self.as_written

    def __post_init__(self) -> None:
        queries = [example.query for example in self.evaluation]
        shared = {example.query for example in self.pool}.intersection(queries)
        if shared:
            raise ValueError(f"{self.name}: {len(shared)} evaluation rows are also in the training pool")
        stray = {example.response for example in self.pool + self.evaluation}.difference(self.labels)
        if self.labels and stray:
            raise ValueError(f"{self.name}: responses {sorted(stray)} are not among the labels {list(self.labels)}")

    def as_record(self, *, trained_on: str | None) -> dict[str, Any]:
        """Return the record's description of the evaluated rows, and of the task that was trained on, if any."""
        return {
            "train": trained_on,
            "eval": self.name,
            "source": self.source,
            "labels": list(self.labels),
            "answer": self.answer if self.response_kind == "text" else None,
        }

    def limited(self, rows: int | None) -> "Task":
        """Return a copy with at most `rows` evaluation rows (all for None), chosen by `at_most`."""
        return replace(self, evaluation=self.at_most(self.evaluation, rows))

    def at_most(self, examples: tuple[Example, ...], rows: int | None) -> tuple[Example, ...]:
        """Return at most `rows` of the task's examples, in order: the first if shuffled, else a random sample."""
        if rows is None or rows >= len(examples) or not self.as_written:
            return examples[:rows]
        chosen = generator(0, f"evaluation rows of {self.name}").sample(range(len(examples)), rows)
        return tuple(examples[index] for index in sorted(chosen))

    def with_spaceless_labels(self) -> "Task":
        """Return a copy whose labels follow the colon directly, for tokenizers that expect no space there.

        Raises:
            ValueError: responses are free text, or two labels differ only in that space.
        """
        labels = tuple(label.removeprefix(" ") for label in self.labels)
        if len(set(labels)) != len(labels) or not labels:
            raise ValueError(f"{self.name}: the labels {list(self.labels)} can't do without their leading space")
        return replace(self, labels=labels, pool=_spaceless(self.pool), evaluation=_spaceless(self.evaluation))

    def as_chat(self) -> "Task":
        """Return a copy with queries and responses as conversation turns, a response ending with its turn."""
        if self.labels:
            return replace(self.with_spaceless_labels(), chat=True)
        return replace(self, pool=_stripped(self.pool), evaluation=_stripped(self.evaluation), stop=None, chat=True)

    def trainable(self) -> "Task":
        """Return this task if it may be trained on.

        Raises:
            InputError: the task only evaluates.
        """
        if self.evaluation_only:
            raise InputError(
                f"{self.name}: this task is for evaluation only; train on another task and evaluate on this one."
            )
        return self


def _spaceless(examples: tuple[Example, ...]) -> tuple[Example, ...]:
    return tuple(replace(example, response=example.response.removeprefix(" ")) for example in examples)


def _stripped(examples: tuple[Example, ...]) -> tuple[Example, ...]:
    return tuple(replace(example, response=example.response.strip()) for example in examples)


def rows_digest(*parts: Iterable[Example]) -> str:
    """Return the SHA-256 (hexadecimal) of rows, which depends on their order and on the division into parts."""
    rows = [[[_query_as_json(example.query), example.response] for example in part] for part in parts]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _query_as_json(query: str) -> str | list[tuple[str, str]]:
    """Return a query as JSON data: its text, or a dialogue's turns, since two dialogues can have the same text."""
    return [(turn.role, turn.content) for turn in query.turns] if isinstance(query, Dialogue) else query


def without_repeats(examples: Iterable[Example]) -> tuple[Example, ...]:
    """Return the examples in order without repeated queries, keeping the first of each."""
    first: dict[str, Example] = {}
    for example in examples:
        first.setdefault(example.query, example)
    return tuple(first.values())


def shuffled_pools(
    train: Iterable[Example], evaluation: Iterable[Example], name: str
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Return a shuffled training pool of at most 2,000 rows and a disjoint evaluation set of at most 500.

    The evaluation rows are chosen first. Rows of the pool with the same query are dropped, so that nothing evaluated is
    ever trained on (PROTOCOL, Data). The order depends only on the rows and the task's name.

    Args:
        train: candidate training rows.
        evaluation: candidate evaluation rows.
        name: the task's name, which seeds the shuffle.
    """
    evaluation_rows = list(without_repeats(evaluation))
    generator(0, f"evaluation rows of {name}").shuffle(evaluation_rows)
    evaluation_rows = evaluation_rows[:EVALUATION_ROWS]
    evaluated = {example.query for example in evaluation_rows}
    pool = [example for example in without_repeats(train) if example.query not in evaluated]
    generator(0, f"training pool of {name}").shuffle(pool)
    return tuple(pool[:POOL_ROWS]), tuple(evaluation_rows)
