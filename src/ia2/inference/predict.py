"""Predicting unlabelled texts: the most probable label with all label probabilities, or a generated response."""

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
from ia2.tasks.task import ContextItem, Example, Task

CHUNK_SIZE = 256
"""Queries per chunk; a chunk is sorted into batches of similar length, and its answers come when all are ready."""


@dataclass(frozen=True)
class Answer:
    """A model's answer to a query."""

    prediction: str
    """The most probable label, without its leading space, or the generated response."""
    confidence: float | None = None
    """Probability of the label among the labels, in [0, 1]; None for free text."""
    probabilities: Mapping[str, float] | None = None
    """Probability of each label, normalised over the labels, in the task's order; None for free text."""


def predict(
    model: LanguageModel,
    task: Task,
    queries: Iterable[str],
    *,
    adapter: Adapter | None = None,
    demonstrations: Sequence[ContextItem] = (),
    label_scoring: AnyLabelScoring = "auto",
    at_once: int = CHUNK_SIZE,
) -> Iterator[Answer]:
    r"""Yield the answers to a stream of queries, in order.

    Args:
        model: the model.
        task: the task, which defines the labels or the stop string, and whether to use the chat template; its rows
            are not read.
        queries: the queries; `ia2.tasks.files.forms.query_of_text` converts a text to a query.
        adapter: the adapter to run with the model, if any.
        demonstrations: demonstrations or an instruction before every query.
        label_scoring: how labels are scored.
        at_once: number of queries that are read before the first answer is yielded.

    Raises:
        InputError: a query exceeds the model's context length, the labels can't be scored, or the adapter was made for
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
                yield from _labelled(reader, tokenizer, task, chunk, demonstrations, label_scoring)
            else:
                yield from _generated(reader, model, tokenizer, task, chunk, demonstrations)


def _labelled(
    reader: Reader,
    tokenizer: PromptTokenizer,
    task: Task,
    queries: Sequence[str],
    demonstrations: Sequence[ContextItem],
    label_scoring: AnyLabelScoring,
) -> Iterator[Answer]:
    labels = LabelTokens.of(task, tokenizer, label_scoring, query=queries[0])
    rows = [Example(query, "") for query in queries]
    prompts = label_prompts(tokenizer, labels, rows, [demonstrations] * len(rows))
    (scores,) = score_labels(_after_common_prefix(reader, prompts), prompts, labels)
    names = [text.strip() for text in labels.texts]
    for index, probabilities in zip(scores.label.tolist(), scores.probabilities.tolist(), strict=True):
        yield Answer(names[index], probabilities[index], dict(zip(names, probabilities, strict=True)))


def _generated(
    reader: Reader,
    model: LanguageModel,
    tokenizer: PromptTokenizer,
    task: Task,
    queries: Sequence[str],
    demonstrations: Sequence[ContextItem],
) -> Iterator[Answer]:
    rows = [Example(query, "") for query in queries]
    prompts = checked_prompts(tokenizer, rows, [demonstrations] * len(rows), task)
    responses = {
        number: response
        for number, response, _ in generated(_after_common_prefix(reader, prompts), model, prompts, task)
    }
    return (Answer(responses[number]) for number in range(len(prompts)))


def _after_common_prefix(reader: Reader, prompts: Sequence[tuple[int, ...]]) -> Reader:
    """Return a reader that has prefilled the common prefix of all prompts."""
    return reader.with_common_prefix([TokenSequence(prompt, (0,)) for prompt in prompts])


def _chunks(queries: Iterable[str], size: int) -> Iterator[tuple[str, ...]]:
    """Yield chunks of `size` queries; the last may be shorter."""
    remaining = iter(queries)
    while chunk := tuple(itertools.islice(remaining, size)):
        yield chunk
