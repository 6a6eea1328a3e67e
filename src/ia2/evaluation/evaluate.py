"""Evaluating a model on queries: zero-shot, with demonstrations, or with an adapter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ia2.adapters.adapter import Adapter, adapted, bank_of
from ia2.adapters.merging import Weights, read_with
from ia2.evaluation.labels import LabelEvaluation, Prediction
from ia2.evaluation.texts import TextEvaluation, generate
from ia2.inference.decoding import checked_prompts
from ia2.inference.label_scoring import (
    AnyLabelScoring,
    Confidence,
    LabelScores,
    LabelTokens,
    label_prompts,
    score_labels,
)
from ia2.models.layout import Layout
from ia2.models.load import LanguageModel
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.progress import SILENT, Progress
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import ContextItem, Example, Task

Correct = Literal["exact", "stripped"]
"""Whether an answer must be exactly the label's token, or may differ in surrounding spaces (as in the published
scripts)."""


Evaluation = LabelEvaluation | TextEvaluation
"""The result of `evaluate`; both types have `metrics` and `rows`."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How rows are evaluated; answers and their correctness depend on the first four fields only.

    Example:
        >>> settings = EvaluationSettings(label_scoring="whole")
        >>> evaluate(model, task.evaluation[:4], task, settings=settings).metrics()["n"]
        4
    """

    label_scoring: AnyLabelScoring = "auto"
    """How labels are scored; ignored for free text."""
    confidence: Confidence = "vocabulary"
    """How the confidence of a first token is computed."""
    correct: Correct = "exact"
    """Which first tokens count as correct; ignored for whole labels and free text."""
    weights: Weights = "adapters"
    """Whether adapters run beside the network's weights or are merged into them, and with which rounding."""
    batch_size: int | None = None
    """Queries per adapter in a forward pass. By default as many as keep the device busy, or, for generated texts, as
    fit in memory."""
    layout: Layout = "packed"
    """How queries share a forward pass."""
    share_prefill: bool = True
    """Whether the common prefix of all prompts is prefilled only once."""
    progress: Progress = SILENT
    """Receives progress over rows."""
    phase: str = "evaluate"
    """Name of the phase in the progress bar."""


class PerQuery(tuple[Sequence[ContextItem], ...]):
    """Different demonstrations for each query."""

    __slots__ = ()


def evaluate(
    model: LanguageModel,
    examples: Sequence[Example],
    task: Task,
    *,
    demonstrations: Sequence[ContextItem] | PerQuery = (),
    adapter: Adapter | None = None,
    settings: EvaluationSettings = EvaluationSettings(),
) -> Evaluation:
    """Run the model on each query and compare its answer with the row's response (PROTOCOL, Evaluation).

    Args:
        model: the model.
        examples: the rows to evaluate.
        task: the task of the rows, with its labels, or with the maximum length, stop string and answer format of free
            text.
        demonstrations: the demonstrations before every query, in this order, or a `PerQuery` with those of each query;
            empty for zero-shot and for adapters.
        adapter: the adapter to run with the model, if any.
        settings: how rows are evaluated.

    Raises:
        InputError: a prompt is longer than the model's context, labels are not single tokens, or the adapter was made
            for another model.

    Example:
        >>> evaluation = evaluate(model, task.evaluation[:4], task, demonstrations=task.pool[:2])
        >>> evaluation.metrics()["n"]
        4
    """
    contexts = demonstrations if isinstance(demonstrations, PerQuery) else PerQuery([demonstrations] * len(examples))
    with read_with(model, adapter, weights=settings.weights) as reader:
        return _evaluated(model, reader, examples, task, contexts, settings)[0]


def evaluate_all(
    model: LanguageModel,
    examples: Sequence[Example],
    task: Task,
    adapters: Sequence[Adapter],
    settings: EvaluationSettings = EvaluationSettings(),
) -> list[Evaluation]:
    """Return the result of `evaluate` for each adapter, computed in shared forward passes.

    Merged adapters, and adapters that can't share a bank, are evaluated one after another.

    Args:
        model: the model.
        examples: the rows to evaluate.
        task: the task of the rows.
        adapters: the adapters to evaluate.
        settings: how rows are evaluated.

    Raises:
        InputError: as for `evaluate`.

    Example:
        >>> adapters = [fresh_adapter(model.network, LoRA().configuration(model.network), seed) for seed in (0, 1)]
        >>> [len(one.predictions) for one in evaluate_all(model, task.evaluation[:4], task, adapters)]
        [4, 4]
    """
    if settings.weights != "adapters" or bank_of(model.network, adapters) is None:
        return [evaluate(model, examples, task, adapter=adapter, settings=settings) for adapter in adapters]
    with adapted(model, adapters) as reader:
        return _evaluated(model, reader, examples, task, PerQuery([()] * len(examples)), settings)


def _evaluated(
    model: LanguageModel,
    reader: Reader,
    examples: Sequence[Example],
    task: Task,
    contexts: PerQuery,
    settings: EvaluationSettings,
) -> list[Evaluation]:
    """Evaluate the reader's adapters, with the context of each query."""
    tokenizer = PromptTokenizer.of(model.beside(reader.adapters.virtual_tokens), task)
    reader = Reader(reader.network, reader.adapters, layout=settings.layout)
    labels = None
    if task.response_kind == "text":
        prompts = checked_prompts(tokenizer, examples, contexts, task)
    else:
        labels = LabelTokens.of(task, tokenizer, settings.label_scoring)
        prompts = label_prompts(tokenizer, labels, examples, contexts)
    count = len(reader.adapters)
    with settings.progress.phase(settings.phase, len(prompts) * count) as advance:
        if settings.share_prefill:
            reader = reader.with_common_prefix([TokenSequence(prompt, (0,)) for prompt in prompts])
        if labels is None:
            size = settings.batch_size
            return [*generate(reader, model, examples, prompts, task, batch_size=size, advance=advance)]
        scores = score_labels(
            reader,
            prompts,
            labels,
            confidence=settings.confidence,
            batch_size=settings.batch_size,
            advance=lambda done: advance(done * count),
        )
    return [
        LabelEvaluation(
            _predictions(examples, labels, adapter_scores, tokenizer, settings.correct), labels.scoring, labels.texts
        )
        for adapter_scores in scores
    ]


def _predictions(
    examples: Sequence[Example],
    labels: LabelTokens,
    scores: LabelScores,
    tokenizer: PromptTokenizer,
    correct: Correct,
) -> tuple[Prediction, ...]:
    answers = [labels.texts[index] for index in scores.label.tolist()]
    token_labels: Sequence[str | None] = answers
    predicted: Sequence[str] = answers
    if scores.token is not None:
        # another token can decode to the same text as a label's (Llama 2 has both with and without the space), but
        # isn't it
        by_token = dict(zip((tokens[0] for tokens in labels.tokens), labels.texts, strict=True))
        token_labels = [by_token.get(token) for token in scores.token.tolist()]
        predicted = [
            label if label is not None else tokenizer.text([token])
            for label, token in zip(token_labels, scores.token.tolist(), strict=True)
        ]
    confidence, label_confidence = scores.confidence.tolist(), scores.label_confidence.tolist()
    rows = zip(
        examples,
        *(predicted, token_labels, confidence, answers, label_confidence, scores.probabilities.tolist()),
        strict=True,
    )

    def right(label: str | None, text: str, response: str) -> bool:
        return label == response or (correct == "stripped" and text.strip() == response.strip())

    return tuple(
        Prediction(
            *(row.query, row.response, text, sure, right(first, text, row.response)),
            *(label, share, label == row.response, tuple(shares)),
        )
        for row, text, first, sure, label, share, shares in rows
    )
