"""What a task is: rows as query and response text, and what may be trained on. Knows nothing of models."""

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
"""How a row of a person's file becomes a query and a response (`ia2.tasks.files.forms`)."""


@dataclass(frozen=True)
class Turn:
    """What one side says in a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class Dialogue(str):
    r"""A query that is more of a conversation than one user turn; a chat template renders its turns.

    As a text, which is shown, it is its turns joined by blank lines, each behind its role. Its turns tell it apart from
    other queries: the same text may be of other turns, whose words look like those of several.

    Example:
        >>> str(Dialogue((Turn("system", "Be brief."), Turn("user", "Who are you?"))))
        'system: Be brief.\n\nuser: Who are you?'
    """

    turns: tuple[Turn, ...]
    """All of them, the last by the user."""

    def __new__(cls, turns: Iterable[Turn]) -> "Dialogue":
        """The query of these turns."""
        parts = tuple(turns)
        query = super().__new__(cls, "\n\n".join(f"{turn.role}: {turn.content}" for turn in parts))
        query.turns = parts
        return query

    def __eq__(self, other: object) -> bool:
        """Whether the other is a dialogue of the same turns."""
        return isinstance(other, Dialogue) and self.turns == other.turns

    def __ne__(self, other: object) -> bool:
        """Whether it isn't, which a text would say by its characters."""
        return not self == other

    def __hash__(self) -> int:
        """Of its turns."""
        return hash(self.turns)

    def __repr__(self) -> str:
        """By its turns, so that keys and digests tell it from other queries of the same text."""
        return f"{type(self).__name__}({self.turns!r})"

    def __getnewargs__(self) -> tuple[tuple[Turn, ...]]:  # type: ignore[override]
        """As its turns, so that copies and other processes have them."""
        return (self.turns,)


def turns_of(query: str) -> tuple[Turn, ...]:
    """The turns of a query: those of a dialogue, or what the user asks.

    Example:
        >>> turns_of("Who are you?")
        (Turn(role='user', content='Who are you?'),)
    """
    return query.turns if isinstance(query, Dialogue) else (Turn("user", query),)


@dataclass(frozen=True)
class Example:
    """One row as the model meets it: `query + response` is a demonstration, `query` alone asks for a response."""

    query: str
    """Ends where the response begins, with no space: `Text:a fine film\\nLabel:`. A `Dialogue` holds earlier turns."""
    response: str
    """Follows the query directly: `1`, or ` positive` with the space that belongs to it."""


@dataclass(frozen=True)
class Instruction:
    """A text that stands before a query like demonstrations do: an instruction, a system prompt, a document."""

    text: str


Shown = Example | Instruction
"""What a prompt may hold before the query."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Rows to learn from and rows to be measured on (PROTOCOL: at most 2,000 and 500, no text in both)."""

    name: str
    """What the command line and the records call it, such as `sst2`."""
    description: str
    """One line for people."""
    source: str
    """Where the rows came from, for the record: a hub dataset with its revision, a folder or a file with its hash."""
    labels: tuple[str, ...] = ()
    """The different responses there are, in the order of their ids; empty where responses are free text."""
    pool: tuple[Example, ...] = ()
    """Rows that training sets, dev sets and demonstrations are drawn from; empty where the task only evaluates."""
    evaluation: tuple[Example, ...] = ()
    """Rows that are measured; empty where a file is all there is, and what a set leaves over is measured."""
    evaluation_only: bool = False
    """The paper only evaluates on this task, so that it refuses to train."""
    answer: AnswerKind = "text"
    """How the answer is found in a response of free text."""
    max_new_tokens: int = 1
    """How long a generated response may get, in tokens."""
    teacher_tokens: int | None = None
    """How long the teacher's may get; None where it is the same."""
    stop: str | None = None
    """The text that ends a generated response, where it isn't a single token."""
    chat: bool = False
    """Queries and responses are turns of a conversation in the model's own template."""
    text_column: str | None = None
    """The column of a person's file that holds the texts."""
    as_written: bool = False
    """Rows stand in the order of a person's file, where the first ones may all be of one kind; else shuffled."""
    form: RowForm = "labelled"
    """How the rows of a person's file became queries, so that more texts become queries like them."""
    notes: tuple[str, ...] = ()
    """Choices made for the user while the rows were read, one sentence each, to be said once and recorded."""

    @property
    def response_kind(self) -> Literal["label", "text"]:
        """Whether a response is one of a few labels or a text of any length."""
        return "label" if self.labels else "text"

    @property
    def as_asked_of_the_teacher(self) -> "Task":
        """The same task with responses as long as the teacher's may get."""
        return replace(self, max_new_tokens=self.teacher_tokens or self.max_new_tokens)

    @property
    def teaches_the_end(self) -> bool:
        """Whether fine-tuning teaches that a response ends: free text, and labels of a person's own.

        So plain generation with an adapter stops behind the label. The paper's labels have no end.
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
        """What a record says of the rows that were measured, and of the task that was trained on, if any was."""
        return {
            "train": trained_on,
            "eval": self.name,
            "source": self.source,
            "labels": list(self.labels),
            "answer": self.answer if self.response_kind == "text" else None,
        }

    def limited(self, rows: int | None) -> "Task":
        """The same task with at most `rows` evaluation rows (all of them for None), as `at_most` chooses them."""
        return replace(self, evaluation=self.at_most(self.evaluation, rows))

    def at_most(self, examples: tuple[Example, ...], rows: int | None) -> tuple[Example, ...]:
        """So many of the task's rows, in their order: the first of shuffled ones, of a person's file any by chance."""
        if rows is None or rows >= len(examples) or not self.as_written:
            return examples[:rows]
        chosen = generator(0, f"evaluation rows of {self.name}").sample(range(len(examples)), rows)
        return tuple(examples[index] for index in sorted(chosen))

    def with_spaceless_labels(self) -> "Task":
        """The same task with labels that follow the colon directly, for tokenizers that want no space there.

        Raises:
            ValueError: responses are free text, or two labels differ only by that space.
        """
        labels = tuple(label.removeprefix(" ") for label in self.labels)
        if len(set(labels)) != len(labels) or not labels:
            raise ValueError(f"{self.name}: the labels {list(self.labels)} can't do without their leading space")
        return replace(self, labels=labels, pool=_spaceless(self.pool), evaluation=_spaceless(self.evaluation))

    def as_chat(self) -> "Task":
        """The same task as turns of a conversation: responses stand alone, and end where the turn does."""
        if self.labels:
            return replace(self.with_spaceless_labels(), chat=True)
        return replace(self, pool=_stripped(self.pool), evaluation=_stripped(self.evaluation), stop=None, chat=True)

    def trainable(self) -> "Task":
        """This task, if it may be trained on.

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
    """SHA-256 (hexadecimal) of rows in their order, the parts kept apart, so that a record says what was used."""
    rows = [[[_plain(example.query), example.response] for example in part] for part in parts]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _plain(query: str) -> str | list[tuple[str, str]]:
    """A query as JSON: its text, or a conversation's turns, since another conversation may have the same text."""
    return [(turn.role, turn.content) for turn in query.turns] if isinstance(query, Dialogue) else query


def without_repeats(examples: Iterable[Example]) -> tuple[Example, ...]:
    """The examples in their order, each query once: the first row that asks it is kept."""
    first: dict[str, Example] = {}
    for example in examples:
        first.setdefault(example.query, example)
    return tuple(first.values())


def shuffled_pools(
    train: Iterable[Example], evaluation: Iterable[Example], name: str
) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """A training pool of at most 2,000 shuffled rows and an evaluation set of at most 500 different ones.

    The evaluation rows are chosen first; any row of the pool that asks the same query is left out, so that nothing
    evaluated is ever trained on (PROTOCOL, Data). The order depends on the rows and the task's name alone.

    Args:
        train: rows that may be trained on.
        evaluation: rows that may be measured.
        name: the task's name, which seeds the shuffle.
    """
    evaluation_rows = list(without_repeats(evaluation))
    generator(0, f"evaluation rows of {name}").shuffle(evaluation_rows)
    evaluation_rows = evaluation_rows[:EVALUATION_ROWS]
    evaluated = {example.query for example in evaluation_rows}
    pool = [example for example in without_repeats(train) if example.query not in evaluated]
    generator(0, f"training pool of {name}").shuffle(pool)
    return tuple(pool[:POOL_ROWS]), tuple(evaluation_rows)
