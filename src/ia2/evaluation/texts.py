"""Evaluating free-text responses: generate greedily, extract the answer, compare it (PROTOCOL, Evaluation)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ia2.evaluation.classification import WITHOUT_CLASSES
from ia2.evaluation.metrics import Binning, accuracy, bootstrap_interval
from ia2.inference.decoding import generated
from ia2.models.load import LanguageModel
from ia2.models.reader import Reader
from ia2.models.responses import Ending
from ia2.tasks.answers import FINDERS, MATHEMATICAL, AnswerKind, equivalent
from ia2.tasks.task import Example, Task


@dataclass(frozen=True)
class Response:
    """The response generated for one query, and its answer."""

    query: str
    response: str
    """The right response."""
    generated: str
    """The generated text, up to the stop string."""
    ending: Ending
    """Whether an end token, the stop string or the length limit ended it."""
    answer: str | None
    """The answer extracted from the generated text."""
    right_answer: str | None
    """The answer extracted from the right response."""
    correct: bool
    """Whether the two answers are the same text (the paper's measure)."""
    equivalent: bool | None
    """Whether the two answers are mathematically equal; None if answers aren't mathematical."""

    @classmethod
    def judged(cls, query: str, response: str, generated: str, ending: Ending, kind: AnswerKind) -> "Response":
        """Extract both answers and compare them."""
        answer, right = FINDERS[kind](generated), FINDERS[kind](response)
        both_answered = answer is not None and right is not None
        same = both_answered and answer == right
        means_the_same = None
        if kind in MATHEMATICAL:
            means_the_same = same or (both_answered and equivalent(str(answer), str(right)))
        return cls(query, response, generated, ending, answer, right, same, means_the_same)


@dataclass(frozen=True)
class TextEvaluation:
    """Responses of one adapter or baseline, in the order of the rows."""

    responses: tuple[Response, ...]
    kind: AnswerKind

    def metrics(self, binning: Binning = "equal-width") -> dict[str, Any]:
        """Return accuracy with its 95 % interval. There is no calibration, since a text has no single confidence.

        Args:
            binning: unused; the parameter exists for symmetry with `LabelEvaluation.metrics`.

        Raises:
            ValueError: there are no responses.
        """
        del binning
        values: dict[str, Any] = {"n": len(self.responses), "ece": None, "ece_binning": None, **WITHOUT_CLASSES}
        measured = {"accuracy": [row.correct for row in self.responses]}
        if self.kind in MATHEMATICAL:
            measured["equivalent_accuracy"] = [bool(row.equivalent) for row in self.responses]
        for name, rows in measured.items():
            right = np.array(rows)
            values |= {name: accuracy(right), f"{name}_interval": bootstrap_interval(accuracy, right)}
        return values | {
            "without_answer": sum(row.answer is None for row in self.responses),
            "cut_by_length": sum(row.ending == "length" for row in self.responses),
            "rows_with_blank_line": sum("\n\n" in row.response for row in self.responses),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Return the responses as dictionaries, the lines of the predictions file beside a record."""
        return [asdict(response) for response in self.responses]

    @classmethod
    def rescored(cls, rows: Sequence[Mapping[str, Any]], kind: AnswerKind) -> "TextEvaluation":
        """Extract and compare the answers of stored generations again."""
        return cls(
            tuple(
                Response.judged(row["query"], row["response"], row["generated"], row["ending"], kind) for row in rows
            ),
            kind,
        )


def generate(
    reader: Reader,
    model: LanguageModel,
    examples: Sequence[Example],
    prompts: Sequence[tuple[int, ...]],
    task: Task,
    *,
    batch_size: int | None,
    advance: Callable[[int], None],
) -> list[TextEvaluation]:
    """Generate a response to each prompt with each adapter, and evaluate it.

    Args:
        reader: the network with the adapters, after the prompts' common prefix if that is prefilled.
        model: the model, whose end tokens end a response.
        examples: the rows, in the order of the prompts.
        prompts: tokens of each prompt, including a shared prefix.
        task: the task, with the maximum length, stop string and answer kind of a response.
        batch_size: prompts per adapter in a batch; None for as many as fit.
        advance: called with the number of newly finished responses.

    Returns:
        An evaluation for each adapter, in order; the network without adapters counts as one.
    """
    count = len(reader.adapters)
    responses: dict[int, Response] = {}
    for number, text, ending in generated(
        reader,
        model,
        list(prompts) * count,
        task,
        adapters=[adapter for adapter in range(count) for _ in prompts],
        batch_size=None if batch_size is None else batch_size * count,
    ):
        row = examples[number % len(prompts)]
        responses[number] = Response.judged(row.query, row.response, text, ending, task.answer)
        advance(1)
    return [
        TextEvaluation(
            tuple(responses[adapter * len(prompts) + index] for index in range(len(prompts))),
            task.answer,
        )
        for adapter in range(count)
    ]
