"""Scoring labels: their tokens, and their probabilities after a prompt."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ia2.errors import FieldError, InputError
from ia2.models.reader import Pass, Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import LOGITS
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import ContextItem, Example, Task

LabelScoring = Literal["token", "whole", "separated", "ended"]
"""What is scored: the first token, over the whole vocabulary (the paper); or whole labels against each other, either
alone, followed by the token that separates them from a next query, or followed by the end token."""
TaughtScoring = Literal["token", "whole", "ended"]
"""The scoring stored with an adapter; whole labels are separated when necessary."""
LabelScoringChoice = Literal["auto", "token", "whole"]
"""The user's choice; auto scores whole labels for a user's file, and the first token for built-in tasks."""
AnyLabelScoring = Literal["auto", "token", "whole", "separated", "ended"]
"""The user's choice or an adapter's scoring. Whole labels are separated if one is a prefix of another."""
Confidence = Literal["vocabulary", "top-10"]
"""A token's confidence: its probability, or its share of the ten most probable tokens' (the published scripts)."""


def label_scoring_of(task: Task, choice: AnyLabelScoring) -> TaughtScoring:
    """Return how to score a task's labels; end tokens are only scored if the task trains them."""
    if choice == "auto":
        return "whole" if task.as_written and task.labels else "token"
    if choice == "separated" or (choice == "ended" and not task.teaches_the_end):
        return "whole"
    return choice


def adapter_scoring_of(
    task: Task, tokenizer: PromptTokenizer, choice: AnyLabelScoring, *, fits_tokens: bool
) -> TaughtScoring:
    """Return how to score a task's labels with an adapter.

    If one label is a prefix of another, the shorter one is never less probable than the longer. The end token is
    therefore scored too if the adapter was fine-tuned on labels followed by it; other label sets don't need it. An
    adapter that was not fine-tuned on tokens is scored like the base model, with separators.

    Args:
        task: the task.
        tokenizer: the model's tokenizer, for this task.
        choice: the requested label scoring.
        fits_tokens: whether the adapter was fine-tuned on response tokens, including the end token.

    Raises:
        InputError: two labels have the same tokens.
    """
    scoring = label_scoring_of(task, choice)
    if scoring != "whole" or not fits_tokens or not task.teaches_the_end:
        return scoring
    return "ended" if LabelTokens.alone(task, tokenizer).beginnings else "whole"


@dataclass(frozen=True)
class LabelTokens:
    """The labels of a task under one tokenizer."""

    texts: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    """Tokens of each label, including a separator or end token if that is scored."""
    scoring: LabelScoring

    @classmethod
    def alone(cls, task: Task, tokenizer: PromptTokenizer, query: str | None = None) -> "LabelTokens":
        """Tokenise whole labels without separator or end token; otherwise like `of`."""
        asked = _zero_shot_prompt(task, tokenizer, query)
        return cls(task.labels, tuple(tokenizer.response(asked, label) for label in task.labels), "whole")

    @classmethod
    def of(
        cls,
        task: Task,
        tokenizer: PromptTokenizer,
        choice: AnyLabelScoring = "auto",
        *,
        query: str | None = None,
    ) -> "LabelTokens":
        """Tokenise a task's labels as they follow a query.

        Args:
            task: the task.
            tokenizer: the model's tokenizer, for this task.
            choice: the label scoring.
            query: the query; by default the task's first.

        Raises:
            InputError: two labels have the same tokens.
            FieldError: the first token is scored, and a label has several tokens.
        """
        scoring = label_scoring_of(task, choice)
        labels = cls.alone(task, tokenizer, query)
        pairs = list(zip(labels.texts, labels.tokens, strict=True))
        # a tokenizer that normalises text may map different labels to the same tokens
        if alike := [text for text, tokens in pairs if labels.tokens.count(tokens) > 1]:
            raise InputError(
                f"{task.name}: the labels {', '.join(map(repr, alike))} are the same tokens to this model. "
                "Rename them so that they differ."
            )
        if scoring == "token" and not labels.single:
            long = "; ".join(
                f"the label {text!r} is {len(tokens)} tokens "
                f"({', '.join(repr(tokenizer.text([token])) for token in tokens)})"
                for text, tokens in pairs
                if len(tokens) > 1
            )
            raise FieldError(
                "label_scoring",
                scoring,
                f"the first token decides, so each label of {task.name} must be a single token for this model, but "
                f"{long}. Use whole instead.",
            )
        if scoring == "ended":
            return cls(labels.texts, tuple(tokens + tokenizer.ending for tokens in labels.tokens), "ended")
        if scoring == "whole" and labels.beginnings:
            asked = _zero_shot_prompt(task, tokenizer, query)
            return cls(labels.texts, tuple(tokenizer.separated(asked, label) for label in labels.texts), "separated")
        return cls(labels.texts, labels.tokens, scoring)

    @property
    def single(self) -> bool:
        """Whether every label is a single token."""
        return all(len(tokens) == 1 for tokens in self.tokens)

    @property
    def beginnings(self) -> tuple[tuple[str, str], ...]:
        """Pairs of labels in which the first one's tokens are a prefix of the second one's."""
        pairs = list(zip(self.texts, self.tokens, strict=True))
        return tuple(
            (short, long)
            for short, beginning in pairs
            for long, tokens in pairs
            if len(beginning) < len(tokens) and tokens[: len(beginning)] == beginning
        )


def label_prompts(
    tokenizer: PromptTokenizer,
    labels: LabelTokens,
    examples: Sequence[Example],
    contexts: Sequence[Sequence[ContextItem]],
) -> list[tuple[int, ...]]:
    """Return the tokens of the prompts for label scoring.

    Args:
        tokenizer: the model's tokenizer, for the task.
        labels: the labels to score.
        examples: the rows; their responses are not read.
        contexts: the demonstrations or other context before each query.

    Raises:
        InputError: a prompt and the longest label exceed the model's context length.
    """
    longest = max(map(len, labels.tokens))
    prompts = [tokenizer.asked(row.query, context) for row, context in zip(examples, contexts, strict=True)]
    for row, prompt in zip(examples, prompts, strict=True):
        tokenizer.check_length(len(prompt) + longest, row.query)
    return prompts


def _zero_shot_prompt(task: Task, tokenizer: PromptTokenizer, query: str | None) -> str:
    """Return the rendered zero-shot prompt of a query, by default the task's first."""
    return tokenizer.rendered((task.evaluation or task.pool)[0].query if query is None else query)


@dataclass(frozen=True)
class LabelScores:
    """Predictions for each prompt, over the whole vocabulary and among the labels."""

    token: Int[Tensor, " n"] | None
    """The most probable next token; None if whole labels were scored."""
    confidence: Float[Tensor, " n"]
    """Probability of that token over the vocabulary, or its share of the ten most probable; the same as
    `label_confidence` if whole labels were scored."""
    label: Int[Tensor, " n"]
    """Index of the most probable label."""
    label_confidence: Float[Tensor, " n"]
    """Probability of that label among the labels."""
    probabilities: Float[Tensor, "n labels"]
    """Probability of each label, normalised over the labels."""


@torch.no_grad()
def score_labels(
    reader: Reader,
    prompts: Sequence[tuple[int, ...]],
    labels: LabelTokens,
    *,
    confidence: Confidence = "vocabulary",
    batch_size: int | None = None,
    advance: Callable[[int], None] = lambda done: None,
) -> list[LabelScores]:
    """Score the labels after each prompt with each adapter, in batches of similar length.

    Args:
        reader: the network with the adapters, after the prompts' common prefix if that is prefilled.
        prompts: tokens of each prompt, including a shared prefix.
        labels: the labels and their scoring. Whole labels are compared by the sum of the log-probabilities of their
            tokens, including a separator or end token.
        confidence: how the most probable token's confidence is computed; whole labels always use their probability
            among the labels.
        batch_size: prompts per adapter in a batch; by default as many as keep the device busy.
        advance: called with the number of newly scored prompts.

    Returns:
        The scores of each adapter, in order; the network without adapters counts as one.
    """
    whole = labels.scoring != "token"
    responses = labels.tokens if whole else ((0,),)
    shape = (len(reader.adapters), len(prompts))
    log_probability = torch.zeros(*shape, len(responses), dtype=torch.float32)
    token = torch.zeros(shape, dtype=torch.long)
    token_confidence = torch.zeros(shape, dtype=torch.float32)
    first_token_scores = torch.zeros(*shape, len(labels.tokens), dtype=torch.float32)

    def store_scores(read: Pass) -> int:
        members = read.indices[: len(read.indices) // shape[0] : len(responses)]
        at = (slice(None), [index // len(responses) for index in members])
        if whole:
            log_probability[at] = _summed(read).view(shape[0], len(members), len(responses))
        else:
            best, best_confidence, first_scores = _first_token(read, labels, confidence)
            token[at], token_confidence[at] = best.view(shape[0], -1), best_confidence.view(shape[0], -1)
            first_token_scores[at] = first_scores.view(shape[0], len(members), -1)
        return len(members)

    sequences = [TokenSequence(prompt, response) for prompt in prompts for response in responses]
    for scored in reader.map_passes(store_scores, sequences, [LOGITS], batch_size=batch_size, group=len(responses)):
        advance(scored)
    probabilities = (log_probability if whole else first_token_scores).softmax(-1)
    best_label = probabilities.max(-1)
    if whole:
        token_confidence = best_label.values
    tokens = [None] * shape[0] if whole else list(token)
    return list(map(LabelScores, tokens, token_confidence, best_label.indices, best_label.values, probabilities))


def _summed(read: Pass) -> Float[Tensor, " sequences"]:
    """Return the log probability of each sequence's response."""
    scores = read.activations[LOGITS].log_softmax(-1)
    chosen = scores.gather(1, read.batch.responses()[:, None])[:, 0]
    return torch.zeros(len(read.indices), device=chosen.device).index_add(0, read.batch.at().example, chosen).cpu()


def _first_token(
    read: Pass, labels: LabelTokens, confidence: Confidence
) -> tuple[Int[Tensor, " sequences"], Float[Tensor, " sequences"], Float[Tensor, "sequences labels"]]:
    """Return the likeliest token after each prompt, its confidence, and the log probabilities of first label tokens."""
    scores = read.activations[LOGITS].log_softmax(-1)
    best = scores.max(-1)
    probability = best.values.exp()
    if confidence == "top-10":
        probability = probability / scores.topk(min(10, scores.shape[-1])).values.exp().sum(-1)
    return best.indices.cpu(), probability.cpu(), scores[:, [tokens[0] for tokens in labels.tokens]].cpu()
