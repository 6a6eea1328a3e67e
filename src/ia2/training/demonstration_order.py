"""Choosing the order of the demonstrations by its loss on the dev rows, before the teacher runs."""

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
from ia2.training.objectives import MatchTokens, ObjectiveTargets


def best_ordered(model: LanguageModel, few_shot_set: FewShotSet, count: int, progress: Progress = SILENT) -> FewShotSet:
    """Return the set with the one of `count` demonstration orders that has the lowest in-context dev loss.

    Raises:
        InputError: no order has a finite dev loss.
    """
    with progress.phase("choose order", count) as advance:
        losses = []
        for order in range(count):
            losses.append(in_context_loss(model, replace(few_shot_set, order=order)))
            advance(1)
    finite = [order for order, loss in enumerate(losses) if math.isfinite(loss)]
    if not finite:
        raise InputError(f"order best-of-{count}: the dev loss is not finite with any order. Use another dtype.")
    best = min(finite, key=losses.__getitem__)
    progress.say(f"Of {count} orders of the demonstrations, number {best} has the lowest dev loss.")
    return replace(few_shot_set, order=best)


@torch.no_grad()
def in_context_loss(model: LanguageModel, few_shot_set: FewShotSet, batch_size: int | None = None) -> float:
    """Return the mean cross-entropy of the dev rows' responses with the demonstrations in context.

    Args:
        model: the model.
        few_shot_set: the demonstrations, in their order, and the dev rows.
        batch_size: dev rows per forward pass; by default as many as keep the device busy.
    """
    tokenizer, demonstrations = PromptTokenizer.of(model, few_shot_set.task), few_shot_set.demonstrations()
    sequences = [tokenizer.sequence(row.query, row.response, demonstrations) for row in few_shot_set.dev]
    reader = Reader(model.network).with_common_prefix(sequences)
    return sum(reader.map_passes(_loss, sequences, [LOGITS], batch_size=batch_size)) / len(sequences)


def _loss(read: Pass) -> float:
    """The sum of the losses of a pass's rows."""
    targets = ObjectiveTargets(read.batch.responses(), {}, {LOGITS: read.batch.at().example}, len(read.indices))
    return float(MatchTokens().loss(read.activations, targets).sum())
