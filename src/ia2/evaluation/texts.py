"""Scoring responses of many tokens: generated greedily, their answers found and compared (PROTOCOL, Evaluation)."""

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
    """What was generated after one query, and the answer in it."""

    query: str
    response: str
    """The right response."""
    generated: str
    """What was generated, up to the stop string."""
    ending: Ending
    """Whether an end token, the stop string or the most tokens ended it."""
    answer: str | None
    """The answer found in what was generated."""
    right_answer: str | None
    """The answer found in the right response."""
    correct: bool
    """Whether the two are the same text (the paper's measure)."""
    equivalent: bool | None
    """Whether they mean the same in mathematics; None where answers aren't mathematical."""

    @classmethod
    def judged(cls, query: str, response: str, generated: str, ending: Ending, kind: AnswerKind) -> "Response":
        """Find both answers and compare them."""
        answer, right = FINDERS[kind](generated), FINDERS[kind](response)
        both_answered = answer is not None and right is not None
        same = both_answered and answer == right
        means_the_same = None
        if kind in MATHEMATICAL:
            means_the_same = same or (both_answered and equivalent(str(answer), str(right)))
        return cls(query, response, generated, ending, answer, right, same, means_the_same)


@dataclass(frozen=True)
class TextEvaluation:
    """The responses of one adapter or baseline, in the order of the rows."""

    responses: tuple[Response, ...]
    kind: AnswerKind

    def metrics(self, binning: Binning = "equal-width") -> dict[str, Any]:
        """Accuracy with its 95 % interval; no calibration, since a text has no one confidence.

        Args:
            binning: means nothing here; labels have it.

        Raises:
            ValueError: nothing was evaluated.
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
        """The responses as plain dictionaries, one a line of the file that lies beside a record."""
        return [asdict(response) for response in self.responses]

    @classmethod
    def rescored(cls, rows: Sequence[Mapping[str, Any]], kind: AnswerKind) -> "TextEvaluation":
        """The same generations with their answers found and compared again."""
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
    """Continue each prompt with each adapter, and judge what comes.

    Args:
        reader: the network with the adapters, behind what the prompts have in common if it is read once.
        model: says which tokens end a text.
        examples: the rows, in the order of the prompts.
        prompts: tokens of each prompt, a shared prefix included.
        task: says how long a response may get, what ends it, and how its answer is found.
        batch_size: prompts that each adapter continues at once; None for as many as fit.
        advance: told how many responses are newly done.

    Returns:
        The responses with each adapter, in their order; the network as it is counts as one.
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
