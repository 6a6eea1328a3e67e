"""Answers to texts whose labels nobody knows: the likeliest label with every label's probability, or a response."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ia2.adapters.adapter import Adapter, adapted
from ia2.inference.decoding import checked_prompts, generated
from ia2.inference.label_scoring import AnyLabelScoring, LabelTokens, label_prompts, score_labels
from ia2.models.load import LanguageModel
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Example, Shown, Task

AT_ONCE = 256
"""Queries that are answered before the first of them is given: long ones and short ones share passes of like length."""


@dataclass(frozen=True)
class Answer:
    """What a model answers to a query."""

    prediction: str
    """The likeliest label without the space before it, or the response that was generated."""
    confidence: float | None = None
    """The label's probability among the labels, in [0, 1]; None for a response of free text."""
    probabilities: Mapping[str, float] | None = None
    """The probability of each label among them, in the task's order; None for a response of free text."""


def predict(
    model: LanguageModel,
    task: Task,
    queries: Iterable[str],
    *,
    adapter: Adapter | None = None,
    shown: Sequence[Shown] = (),
    label_scoring: AnyLabelScoring = "auto",
    at_once: int = AT_ONCE,
) -> Iterator[Answer]:
    r"""Answer queries in their order, as they come.

    Args:
        model: the model.
        task: whether a chat template asks, and which labels compete or what ends a response; its rows aren't read.
        queries: what is asked; `ia2.tasks.files.forms.query_of_text` makes one of a text.
        adapter: runs on the model meanwhile.
        shown: demonstrations or an instruction before every query.
        label_scoring: how labels compete.
        at_once: queries that are answered before the first answer is given.

    Raises:
        InputError: a query is longer than the model's context, the labels can't be scored, or the adapter was made for
            another model.

    Example:
        >>> answers = predict(model, task, ["Text:a fine film\nLabel:", "Text:a long film\nLabel:"])
        >>> [sorted(answer.probabilities) == sorted(label.strip() for label in task.labels) for answer in answers]
        [True, True]
    """
    with adapted(model, [] if adapter is None else [adapter]) as reader:
        tokenizer = PromptTokenizer.of(model.beside(reader.adapters.virtual_tokens), task)
        for chunk in _chunks(queries, at_once):
            if task.labels:
                yield from _labelled(reader, tokenizer, task, chunk, shown, label_scoring)
            else:
                yield from _generated(reader, model, tokenizer, task, chunk, shown)


def _labelled(
    reader: Reader,
    tokenizer: PromptTokenizer,
    task: Task,
    queries: Sequence[str],
    shown: Sequence[Shown],
    label_scoring: AnyLabelScoring,
) -> Iterator[Answer]:
    labels = LabelTokens.of(task, tokenizer, label_scoring, query=queries[0])
    rows = [Example(query, "") for query in queries]
    prompts = label_prompts(tokenizer, labels, rows, [shown] * len(rows))
    (scores,) = score_labels(_behind(reader, prompts), prompts, labels)
    names = [text.strip() for text in labels.texts]
    for index, probabilities in zip(scores.label.tolist(), scores.probabilities.tolist(), strict=True):
        yield Answer(names[index], probabilities[index], dict(zip(names, probabilities, strict=True)))


def _generated(
    reader: Reader,
    model: LanguageModel,
    tokenizer: PromptTokenizer,
    task: Task,
    queries: Sequence[str],
    shown: Sequence[Shown],
) -> Iterator[Answer]:
    rows = [Example(query, "") for query in queries]
    prompts = checked_prompts(tokenizer, rows, [shown] * len(rows), task)
    responses = {number: response for number, response, _ in generated(_behind(reader, prompts), model, prompts, task)}
    return (Answer(responses[number]) for number in range(len(prompts)))


def _behind(reader: Reader, prompts: Sequence[tuple[int, ...]]) -> Reader:
    """A reader that has read what all prompts begin with."""
    return reader.behind_common_tokens([TokenSequence(prompt, (0,)) for prompt in prompts])


def _chunks(queries: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    """Runs of this many queries, the last one of what is left."""
    remaining = iter(queries)
    while chunk := tuple(itertools.islice(remaining, size)):
        yield chunk
