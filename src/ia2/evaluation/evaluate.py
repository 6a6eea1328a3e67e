"""Scoring: what the model answers to each query, zero-shot, with demonstrations in context, or with an adapter."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from ia2.adapters.adapter import Adapter, attached, bank_of
from ia2.adapters.bank import Bank
from ia2.evaluation.metrics import Binning, accuracy, bootstrap_interval, expected_calibration_error
from ia2.evaluation.texts import TextEvaluation, generate
from ia2.inference.decoding import checked_prompts
from ia2.inference.label_scoring import Confidence, LabelScores, LabelScoring, LabelTokens, score_labels
from ia2.models.layout import Layout, TokenSequence, shared_tokens
from ia2.models.load import LanguageModel
from ia2.models.prefix import NO_PREFILL, prefill
from ia2.progress import SILENT, Progress
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Example, Shown, Task

TEXT_BATCH = 32


@dataclass(frozen=True)
class Prediction:
    """What was answered to one query."""

    query: str
    response: str
    """The right answer."""
    predicted: str
    """The likeliest next token of the whole vocabulary, or the likeliest whole label."""
    confidence: float
    """Its probability, in [0, 1]."""
    correct: bool
    """Whether that token, or that whole label, is the right answer's."""
    label_predicted: str
    """The likeliest label."""
    label_confidence: float
    """Its probability among the labels, in [0, 1]."""
    label_correct: bool


@dataclass(frozen=True)
class LabelEvaluation:
    """The predictions of one adapter or baseline, in the order of the rows."""

    predictions: tuple[Prediction, ...]
    label_scoring: LabelScoring

    def metrics(self, binning: Binning = "equal-width") -> dict[str, Any]:
        """Accuracy and ECE over the vocabulary and among the labels, each with its 95 % interval.

        Raises:
            ValueError: nothing was evaluated.
        """
        values: dict[str, Any] = {"n": len(self.predictions), "ece_binning": binning}
        for prefix in ("", "label_"):
            confidence = np.array([getattr(row, f"{prefix}confidence") for row in self.predictions])
            correct = np.array([getattr(row, f"{prefix}correct") for row in self.predictions])
            values |= _with_intervals(prefix, confidence, correct, binning)
        return values

    def rows(self) -> list[dict[str, Any]]:
        """The predictions as plain dictionaries, one a line of the file that lies beside a record."""
        return [asdict(prediction) for prediction in self.predictions]


Evaluation = LabelEvaluation | TextEvaluation
"""What `evaluate` gives: both have `metrics` and `rows`."""


def evaluate(
    model: LanguageModel,
    examples: Sequence[Example],
    task: Task,
    *,
    demonstrations: Sequence[Shown] = (),
    contexts: Sequence[Sequence[Shown]] | None = None,
    adapter: Adapter | None = None,
    label_scoring: LabelScoring = "token",
    confidence: Confidence = "vocabulary",
    batch_size: int | None = None,
    layout: Layout = "packed",
    share_prefill: bool = True,
    progress: Progress = SILENT,
    name: str = "evaluate",
) -> Evaluation:
    """Ask the model each query and compare its answer with the row's response (PROTOCOL, Evaluation).

    Args:
        model: the model.
        examples: the rows to be measured.
        task: the task whose labels compete, or which says how long a text may get, what ends it and what its answer is.
        demonstrations: shown before every query, in this order; none for zero-shot and for adapters.
        contexts: instead, what is shown before each query.
        adapter: runs on the model meanwhile.
        label_scoring: whether the first token or the whole label decides; means nothing for free text.
        confidence: what a first token's confidence is.
        batch_size: queries a forward pass; by default as many as keep the machine busy, and 32 where texts are
            generated, which reads all weights for each token and costs hardly more for twice as many.
        layout: how they share it, where labels are scored.
        share_prefill: read what all prompts begin with once, not once a query. The answers are the same.
        progress: told which rows are done.
        name: what to call this phase.

    Raises:
        InputError: a prompt is longer than the model's context, labels are not single tokens, or the adapter was made
            for another model.
    """
    shown = [demonstrations] * len(examples) if contexts is None else contexts
    bank = bank_of(model.network, [adapter]) if adapter is not None and not any(shown) else None
    if bank is not None and layout == "packed":
        asked = _asked_together(model, examples, task, bank, label_scoring, confidence, batch_size, progress, name)
        return asked[0]
    text = task.response_kind == "text"
    tokenizer = PromptTokenizer.of(model, task)
    if text:
        prompts = checked_prompts(tokenizer, examples, shown, task)
    else:
        labels = LabelTokens.of(task, tokenizer, label_scoring)
        prompts = [
            tokenizer.sequence(row.query, row.response, own).prompt for row, own in zip(examples, shown, strict=True)
        ]
    with attached(model.network, adapter), progress.phase(name, len(prompts)) as advance:
        shared = NO_PREFILL
        if share_prefill and len(prompts) > 1:
            shared = prefill(model.network, shared_tokens([TokenSequence(prompt, (0,)) for prompt in prompts]))
        if text:
            return generate(
                model, examples, task, prompts, prefill=shared, batch_size=batch_size or TEXT_BATCH, advance=advance
            )[0]
        (scores,) = score_labels(
            model.network,
            prompts,
            labels,
            prefill=shared,
            confidence=confidence,
            batch_size=batch_size,
            layout=layout,
            advance=advance,
        )
    return LabelEvaluation(_predictions(examples, labels, scores, tokenizer), label_scoring)


def evaluate_all(
    model: LanguageModel,
    examples: Sequence[Example],
    task: Task,
    adapters: Sequence[Adapter],
    *,
    label_scoring: LabelScoring = "token",
    confidence: Confidence = "vocabulary",
    batch_size: int | None = None,
    progress: Progress = SILENT,
    name: str = "evaluate",
) -> list[Evaluation]:
    """What `evaluate` says of each adapter, all of them asked in the same forward passes.

    Adapters that can't share a bank are evaluated one after another.

    Args:
        model: the model.
        examples: the rows to be measured.
        task: theirs.
        adapters: what is to be measured.
        label_scoring: as in `evaluate`.
        confidence: as in `evaluate`.
        batch_size: queries that each adapter is asked at once; by default as in `evaluate`.
        progress: told which rows are done.
        name: what to call this phase.

    Raises:
        InputError: as `evaluate`.
    """
    bank = bank_of(model.network, adapters)
    if bank is None:
        return [
            evaluate(
                model,
                examples,
                task,
                adapter=one,
                label_scoring=label_scoring,
                confidence=confidence,
                batch_size=batch_size,
                progress=progress,
                name=name,
            )
            for one in adapters
        ]
    return _asked_together(model, examples, task, bank, label_scoring, confidence, batch_size, progress, name)


def _asked_together(
    model: LanguageModel,
    examples: Sequence[Example],
    task: Task,
    bank: Bank,
    label_scoring: LabelScoring,
    confidence: Confidence,
    batch_size: int | None,
    progress: Progress,
    name: str,
) -> list[Evaluation]:
    tokenizer = PromptTokenizer.of(model.beside(bank.virtual_tokens), task)
    with progress.phase(name, len(examples) * len(bank)) as advance:
        if task.response_kind == "text":
            prompts = checked_prompts(tokenizer, examples, [()] * len(examples), task)
            return [
                *generate(
                    model, examples, task, prompts, bank=bank, batch_size=batch_size or TEXT_BATCH, advance=advance
                )
            ]
        labels = LabelTokens.of(task, tokenizer, label_scoring)
        prompts = [tokenizer.sequence(row.query, row.response).prompt for row in examples]
        scores = score_labels(
            model.network,
            prompts,
            labels,
            bank=bank,
            confidence=confidence,
            batch_size=batch_size,
            advance=lambda done: advance(done * len(bank)),
        )
    return [LabelEvaluation(_predictions(examples, labels, one, tokenizer), label_scoring) for one in scores]


def _predictions(
    examples: Sequence[Example], labels: LabelTokens, scores: LabelScores, tokenizer: PromptTokenizer
) -> tuple[Prediction, ...]:
    answers = [labels.texts[index] for index in scores.label.tolist()]
    said: Sequence[str | None] = answers
    predicted: Sequence[str] = answers
    if scores.token is not None:
        # another token may read like a label (Llama 2's, with and without the space that it stands for): it is none
        by_token = dict(zip((tokens[0] for tokens in labels.tokens), labels.texts, strict=True))
        said = [by_token.get(token) for token in scores.token.tolist()]
        predicted = [
            label if label is not None else tokenizer.text([token])
            for label, token in zip(said, scores.token.tolist(), strict=True)
        ]
    confidence, among = scores.confidence.tolist(), scores.label_confidence.tolist()
    return tuple(
        Prediction(row.query, row.response, text, sure, first == row.response, label, share, label == row.response)
        for row, text, first, sure, label, share in zip(
            examples, predicted, said, confidence, answers, among, strict=True
        )
    )


def _with_intervals(prefix: Literal["", "label_"], confidence: Any, correct: Any, binning: Binning) -> dict[str, Any]:
    def ece(confidence: Any, correct: Any) -> float:
        return expected_calibration_error(confidence, correct, binning=binning)

    return {
        f"{prefix}accuracy": accuracy(correct),
        f"{prefix}accuracy_interval": bootstrap_interval(accuracy, correct),
        f"{prefix}ece": ece(confidence, correct),
        f"{prefix}ece_interval": bootstrap_interval(ece, confidence, correct),
    }
