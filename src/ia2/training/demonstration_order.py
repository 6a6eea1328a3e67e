"""Which order of the demonstrations: several are tried on the dev rows before the teacher is asked."""

from dataclasses import replace

import torch

from ia2.models.layout import lay_out, passes, shared_tokens
from ia2.models.load import LanguageModel
from ia2.models.prefix import prefill
from ia2.models.reader import response_logits
from ia2.progress import SILENT, Progress
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.training.objectives import MatchTokens, StudentOutputs, Wanted


def best_ordered(model: LanguageModel, few_shot_set: FewShotSet, count: int, progress: Progress = SILENT) -> FewShotSet:
    """The set with that one of `count` orders with which the model in context predicts the dev rows best."""
    with progress.phase("choose order", count) as advance:
        losses = []
        for order in range(count):
            losses.append(in_context_loss(model, replace(few_shot_set, order=order)))
            advance(1)
    best = min(range(count), key=losses.__getitem__)
    progress.say(f"Of {count} orders of the demonstrations, number {best} predicts the dev rows best.")
    return replace(few_shot_set, order=best)


@torch.no_grad()
def in_context_loss(model: LanguageModel, few_shot_set: FewShotSet, batch_size: int | None = None) -> float:
    """The mean cross-entropy of the dev rows' own responses with the demonstrations in context.

    Args:
        model: the model.
        few_shot_set: the demonstrations, in their order, and the dev rows.
        batch_size: dev rows a forward pass; by default as `passes` says.
    """
    network, tokenizer = model.network, PromptTokenizer.of(model, few_shot_set.task)
    shown = few_shot_set.demonstrations()
    sequences = [tokenizer.sequence(row.query, row.response, shown) for row in few_shot_set.dev]
    shared = prefill(network, shared_tokens(sequences))
    total = 0.0
    for indices in passes(sequences, batch_size, network.device, skip=len(shared.tokens)):
        batch = lay_out([sequences[i] for i in indices], skip=len(shared.tokens), device=network.device)
        logits = response_logits(network, batch, shared.cache(batch.input_ids.shape[0]))
        wanted = Wanted(batch.response, None, batch.example, len(indices))
        total += MatchTokens().loss(StudentOutputs(None, logits), wanted).sum().item()
    return total / len(sequences)
