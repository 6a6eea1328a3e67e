"""A task's labels as a model sees them: their tokens, and how likely each is after a prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from ia2.errors import InputError
from ia2.fewshot import PromptTokenizer
from ia2.models.batch import Layout, TokenSequence, by_length, lay_out, response_logits
from ia2.models.prefix import NO_PREFILL, Prefill
from ia2.tasks.task import Task

LabelScoring = Literal["token", "whole"]
"""Whether the first token decides over the whole vocabulary (the paper), or whole labels compete with each other."""


@dataclass(frozen=True)
class LabelTokens:
    """The labels of a task under one tokenizer."""

    texts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    scoring: LabelScoring

    @classmethod
    def of(cls, task: Task, tokenizer: PromptTokenizer, scoring: LabelScoring = "token") -> "LabelTokens":
        """Tokenise a task's labels where they will stand: directly behind a query.

        Raises:
            InputError: the first token is to decide, and labels are not single tokens of their own.
        """
        query = (task.evaluation or task.pool)[0].query
        labels = cls(task.labels, tuple(tokenizer.response(query, label) for label in task.labels), scoring)
        if scoring == "token" and not labels.single:
            raise InputError(
                f"{task.name}: {labels._clash(tokenizer)} under this model's tokenizer, and a label must be one token "
                "of its own. Score whole labels with --label-scoring whole."
            )
        if len(set(labels.tokens)) < len(labels.tokens):
            raise InputError(f"{task.name}: {labels._clash(tokenizer)} under this model's tokenizer.")
        return labels

    @property
    def single(self) -> bool:
        """Whether every label is one token that no other label has."""
        return all(len(tokens) == 1 for tokens in self.tokens) and len(set(self.tokens)) == len(self.tokens)

    def _clash(self, tokenizer: PromptTokenizer) -> str:
        long = [
            f"the label {text!r} is {len(tokens)} tokens ({', '.join(repr(tokenizer.text([t])) for t in tokens)})"
            for text, tokens in zip(self.texts, self.tokens, strict=True)
            if len(tokens) > 1
        ]
        alike = [text for text, tokens in zip(self.texts, self.tokens, strict=True) if self.tokens.count(tokens) > 1]
        return "; ".join(long) or f"the labels {', '.join(map(repr, alike))} are the same token"


@dataclass(frozen=True)
class LabelScores:
    """What a model answers to each prompt, over the whole vocabulary and among the labels."""

    token: Int[Tensor, " n"] | None
    """The likeliest next token; None where whole labels were scored."""
    confidence: Float[Tensor, " n"]
    """Its probability over the whole vocabulary; the label's among the labels where whole labels were scored."""
    label: Int[Tensor, " n"]
    """The index of the likeliest label."""
    label_confidence: Float[Tensor, " n"]
    """Its probability among the labels."""


@torch.no_grad()
def score_labels(
    network: PreTrainedModel,
    prompts: Sequence[tuple[int, ...]],
    labels: LabelTokens,
    *,
    prefill: Prefill = NO_PREFILL,
    batch_size: int = 16,
    layout: Layout = "packed",
    advance: Callable[[int], None] = lambda done: None,
) -> LabelScores:
    """Score the labels after each prompt, in batches of like length.

    Args:
        network: a causal language model, with or without an adapter.
        prompts: tokens of each prompt, a shared prefix included.
        labels: the labels and how they compete. Whole labels are compared by the sum of their tokens' log
            probabilities, so that of two labels of which one begins the other the shorter never loses.
        prefill: keys and values of the prompts' shared prefix.
        batch_size: sequences a forward pass.
        layout: how they share it.
        advance: told how many prompts were newly scored.
    """
    whole = labels.scoring == "whole"
    responses = labels.tokens if whole else ((0,),)
    sequences = [TokenSequence(prompt, response) for prompt in prompts for response in responses]
    log_probability = torch.zeros(len(sequences), dtype=torch.float32)
    token = torch.zeros(len(sequences), dtype=torch.long)
    confidence = torch.zeros(len(sequences), dtype=torch.float32)
    among = torch.zeros(len(sequences), len(labels.tokens), dtype=torch.float32)
    first = [tokens[0] for tokens in labels.tokens]
    scored = 0
    for indices in by_length(sequences, batch_size):
        batch = lay_out([sequences[i] for i in indices], layout=layout, skip=len(prefill.tokens), device=network.device)
        logits = response_logits(network, batch, prefill.cache(batch.input_ids.shape[0]))
        scores = logits.log_softmax(-1)
        if whole:
            chosen = scores.gather(1, batch.response[:, None])[:, 0]
            sums = torch.zeros(len(indices), device=chosen.device).index_add(0, batch.example, chosen)
            log_probability[indices] = sums.cpu()
        else:
            best = scores.max(-1)
            token[indices], confidence[indices] = best.indices.cpu(), best.values.exp().cpu()
            among[indices] = scores[:, first].cpu()
        scored += len(indices)
        advance(scored // len(responses) - (scored - len(indices)) // len(responses))
    if whole:
        among = log_probability.view(len(prompts), len(labels.tokens))
    best_label = among.softmax(-1).max(-1)
    if whole:
        return LabelScores(None, best_label.values, best_label.indices, best_label.values)
    return LabelScores(token, confidence, best_label.indices, best_label.values)
