"""A task's labels as a model sees them: their tokens, and how likely each is after a prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from ia2.adapters.bank import Bank
from ia2.errors import InputError
from ia2.models.layout import Layout, TokenSequence, lay_out, passes, shared_rows
from ia2.models.prefix import NO_PREFILL, Prefill
from ia2.models.reader import response_logits
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Task

LabelScoring = Literal["token", "whole"]
"""Whether the first token decides over the whole vocabulary (the paper), or whole labels compete with each other."""
Confidence = Literal["vocabulary", "top-10"]
"""Whether a token's confidence is its probability, or its share of the ten likeliest ones' (the published scripts)."""


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
            InputError: labels are the same tokens, or the first token is to decide and they are not single tokens.
        """
        query = tokenizer.rendered((task.evaluation or task.pool)[0].query)
        labels = cls(task.labels, tuple(tokenizer.response(query, label) for label in task.labels), scoring)
        pairs = list(zip(labels.texts, labels.tokens, strict=True))
        # different labels, to a tokenizer that normalizes texts, may be one
        if alike := [text for text, own in pairs if labels.tokens.count(own) > 1]:
            raise InputError(
                f"{task.name}: the labels {', '.join(map(repr, alike))} are the same tokens to this model. "
                "Name them so that they differ."
            )
        if scoring == "token" and not labels.single:
            long = "; ".join(
                f"the label {text!r} is {len(own)} tokens ({', '.join(repr(tokenizer.text([token])) for token in own)})"
                for text, own in pairs
                if len(own) > 1
            )
            raise InputError(
                f"{task.name}: {long} under this model's tokenizer, and a label must be one token "
                "of its own. Score whole labels with --label-scoring whole."
            )
        return labels

    @property
    def single(self) -> bool:
        """Whether every label is one token."""
        return all(len(tokens) == 1 for tokens in self.tokens)


@dataclass(frozen=True)
class LabelScores:
    """What a model answers to each prompt, over the whole vocabulary and among the labels."""

    token: Int[Tensor, " n"] | None
    """The likeliest next token; None where whole labels were scored."""
    confidence: Float[Tensor, " n"]
    """Its probability over the whole vocabulary or share of the ten likeliest; the label's among the labels where whole
    labels were scored."""
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
    bank: Bank | None = None,
    prefill: Prefill = NO_PREFILL,
    confidence: Confidence = "vocabulary",
    batch_size: int | None = None,
    layout: Layout = "packed",
    advance: Callable[[int], None] = lambda done: None,
) -> list[LabelScores]:
    """Score the labels after each prompt, in batches of like length, with each adapter of a bank.

    Args:
        network: a causal language model.
        prompts: tokens of each prompt, a shared prefix included.
        labels: the labels and how they compete. Whole labels are compared by the sum of their tokens' log
            probabilities, so that of two labels of which one begins the other the shorter never loses.
        bank: the adapters; without one the network is asked as it is.
        prefill: keys and values of the prompts' shared prefix, as the network alone computes them.
        confidence: what the likeliest token's is; whole labels have theirs among the labels.
        batch_size: prompts that each adapter reads at once; by default as `passes` says.
        layout: how they share a forward pass.
        advance: told how many prompts were newly scored.

    Returns:
        The scores with each adapter, in the bank's order; one without a bank.

    Raises:
        ValueError: a prefill or a layout with padding was asked for with a bank.
    """
    if bank is not None and (prefill.tokens or layout != "packed"):
        raise ValueError("with a bank prompts are packed, and have no prefill")
    whole = labels.scoring == "whole"
    responses = labels.tokens if whole else ((0,),)
    adapters = range(len(bank) if bank is not None else 1)
    shape = (len(adapters), len(prompts))
    log_probability = torch.zeros(*shape, len(responses), dtype=torch.float32)
    token = torch.zeros(shape, dtype=torch.long)
    certain = torch.zeros(shape, dtype=torch.float32)
    among = torch.zeros(*shape, len(labels.tokens), dtype=torch.float32)
    first = [tokens[0] for tokens in labels.tokens]
    asked, shared = [TokenSequence(prompt, (0,)) for prompt in prompts], len(prefill.tokens)
    copies = len(adapters) * len(responses)
    for indices in passes(asked, batch_size, network.device, skip=shared, copies=copies):
        sequences = [
            TokenSequence(prompts[index], response) for _ in adapters for index in indices for response in responses
        ]
        if bank is not None:
            own = [adapter for adapter in adapters for _ in range(len(indices) * len(responses))]
            rows, groups = shared_rows(sequences, own)
            adapter_of_row = torch.tensor(groups, device=network.device)
            batch = lay_out(sequences, rows=rows, device=network.device)
            with bank.reading(batch, adapter_of_row) as (batch, cache):
                logits = response_logits(network, batch, cache)
        else:
            batch = lay_out(sequences, layout=layout, skip=len(prefill.tokens), device=network.device)
            logits = response_logits(network, batch, prefill.cache(batch.input_ids.shape[0]))
        scores = logits.log_softmax(-1)
        place = (slice(None), indices)
        if whole:
            chosen = scores.gather(1, batch.response[:, None])[:, 0]
            sums = torch.zeros(len(sequences), device=chosen.device).index_add(0, batch.example, chosen)
            log_probability[place] = sums.cpu().view(len(adapters), len(indices), len(responses))
        else:
            best = scores.max(-1)
            token[place] = best.indices.cpu().view(len(adapters), -1)
            probability = best.values.exp()
            if confidence == "top-10":
                probability = probability / scores.topk(min(10, scores.shape[-1])).values.exp().sum(-1)
            certain[place] = probability.cpu().view(len(adapters), -1)
            among[place] = scores[:, first].cpu().view(len(adapters), len(indices), -1)
        advance(len(indices))
    best_label = (log_probability if whole else among).softmax(-1).max(-1)
    if whole:
        return [
            LabelScores(None, best_label.values[one], best_label.indices[one], best_label.values[one])
            for one in adapters
        ]
    return [LabelScores(token[one], certain[one], best_label.indices[one], best_label.values[one]) for one in adapters]
