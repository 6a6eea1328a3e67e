"""Which order of the demonstrations: several are tried on the dev rows before the teacher is asked."""

import math
from dataclasses import replace

import torch

from ia2.errors import InputError
from ia2.models.load import LanguageModel
from ia2.models.reader import Pass, Reader
from ia2.models.sites import LOGITS
from ia2.progress import SILENT, Progress
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.training.objectives import MatchTokens, Wanted


def best_ordered(model: LanguageModel, few_shot_set: FewShotSet, count: int, progress: Progress = SILENT) -> FewShotSet:
    """The set with that one of `count` orders with which the model in context predicts the dev rows best.

    Raises:
        InputError: with no order the loss of the dev rows is a finite number.
    """
    with progress.phase("choose order", count) as advance:
        losses = []
        for order in range(count):
            losses.append(in_context_loss(model, replace(few_shot_set, order=order)))
            advance(1)
    finite = [order for order, loss in enumerate(losses) if math.isfinite(loss)]
    if not finite:
        raise InputError(
            f"order best-of-{count}: with no order is the loss of the dev rows a finite number. Use another dtype."
        )
    best = min(finite, key=losses.__getitem__)
    progress.say(f"Of {count} orders of the demonstrations, number {best} predicts the dev rows best.")
    return replace(few_shot_set, order=best)


@torch.no_grad()
def in_context_loss(model: LanguageModel, few_shot_set: FewShotSet, batch_size: int | None = None) -> float:
    """The mean cross-entropy of the dev rows' own responses with the demonstrations in context.

    Args:
        model: the model.
        few_shot_set: the demonstrations, in their order, and the dev rows.
        batch_size: dev rows a forward pass; by default as many as keep the device busy.
    """
    tokenizer, shown = PromptTokenizer.of(model, few_shot_set.task), few_shot_set.demonstrations()
    sequences = [tokenizer.sequence(row.query, row.response, shown) for row in few_shot_set.dev]
    reader = Reader(model.network).behind_common_tokens(sequences)
    return sum(reader.taken(_loss, sequences, [LOGITS], batch_size=batch_size)) / len(sequences)


def _loss(read: Pass) -> float:
    """The sum of the losses of a pass's rows."""
    wanted = Wanted(read.batch.responses(), {}, {LOGITS: read.batch.at().example}, len(read.indices))
    return float(MatchTokens().loss(read.activations, wanted).sum())
