"""A task's labels as a model sees them: their tokens, and how likely each is after a prompt."""

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
from ia2.tasks.task import Example, Shown, Task

LabelScoring = Literal["token", "whole", "separated", "ended"]
"""Whether the first token decides over the whole vocabulary (the paper), or whole labels compete with each other: each
alone, with the token that separates it from a next query in a prompt, or with the end token behind it."""
TaughtScoring = Literal["token", "whole", "ended"]
"""What an adapter remembers of it: whole labels are separated where they must be."""
LabelScoringChoice = Literal["auto", "token", "whole"]
"""Automatic: whole labels where they are a person's own, and the paper's first token in built-in tasks."""
AnyLabelScoring = Literal["auto", "token", "whole", "separated", "ended"]
"""What is chosen, or what an adapter was taught. Whole labels of which one begins another are separated."""
Confidence = Literal["vocabulary", "top-10"]
"""Whether a token's confidence is its probability, or its share of the ten likeliest ones' (the published scripts)."""


def label_scoring_of(task: Task, choice: AnyLabelScoring) -> TaughtScoring:
    """How a task's labels are scored; those of a task that teaches no end have none."""
    if choice == "auto":
        return "whole" if task.as_written and task.labels else "token"
    if choice == "separated" or (choice == "ended" and not task.teaches_the_end):
        return "whole"
    return choice


def adapter_scoring_of(
    task: Task, tokenizer: PromptTokenizer, choice: AnyLabelScoring, *, fits_tokens: bool
) -> TaughtScoring:
    """How a task's labels are scored with an adapter.

    Of two labels of which one begins the other the shorter is never the less likely. What was fine-tuned on labels with
    the end token behind them is therefore asked for that as well; other labels can do without. What was not fine-tuned
    is asked as the model is: for what separates labels in a prompt.

    Args:
        task: the task.
        tokenizer: the model's, for this task.
        choice: how labels were to compete.
        fits_tokens: whether the adapter was fine-tuned on responses, their end included.

    Raises:
        InputError: labels are the same tokens.
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
    """Of each label, with what stands behind it where labels compete with that."""
    scoring: LabelScoring

    @classmethod
    def alone(cls, task: Task, tokenizer: PromptTokenizer, query: str | None = None) -> "LabelTokens":
        """The labels with nothing behind them, whole; otherwise as `of`."""
        asked = _asked(task, tokenizer, query)
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
        """Tokenise a task's labels where they will stand: directly behind a query.

        Args:
            task: the task.
            tokenizer: the model's, for this task.
            choice: how they compete.
            query: the query; by default the task's first one.

        Raises:
            InputError: labels are the same tokens.
            FieldError: the first token is to decide, and labels are not single tokens.
        """
        scoring = label_scoring_of(task, choice)
        labels = cls.alone(task, tokenizer, query)
        pairs = list(zip(labels.texts, labels.tokens, strict=True))
        # different labels, to a tokenizer that normalizes texts, may be one
        if alike := [text for text, tokens in pairs if labels.tokens.count(tokens) > 1]:
            raise InputError(
                f"{task.name}: the labels {', '.join(map(repr, alike))} are the same tokens to this model. "
                "Name them so that they differ."
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
                f"the first token decides, so that each label of {task.name} must be one token of this model, and "
                f"{long}. Say whole instead.",
            )
        if scoring == "ended":
            return cls(labels.texts, tuple(tokens + tokenizer.ending for tokens in labels.tokens), "ended")
        if scoring == "whole" and labels.beginnings:
            asked = _asked(task, tokenizer, query)
            return cls(labels.texts, tuple(tokenizer.separated(asked, label) for label in labels.texts), "separated")
        return cls(labels.texts, labels.tokens, scoring)

    @property
    def single(self) -> bool:
        """Whether every label is one token."""
        return all(len(tokens) == 1 for tokens in self.tokens)

    @property
    def beginnings(self) -> tuple[tuple[str, str], ...]:
        """Pairs of labels of which the first one's tokens begin the second one's."""
        pairs = list(zip(self.texts, self.tokens, strict=True))
        return tuple(
            (short, long)
            for short, beginning in pairs
            for long, tokens in pairs
            if len(beginning) < len(tokens) and tokens[: len(beginning)] == beginning
        )


def label_prompts(
    tokenizer: PromptTokenizer, labels: LabelTokens, examples: Sequence[Example], contexts: Sequence[Sequence[Shown]]
) -> list[tuple[int, ...]]:
    """The tokens of prompts that labels are scored behind.

    Args:
        tokenizer: the model's, for the task.
        labels: what is scored.
        examples: the rows, whose responses aren't read.
        contexts: what is shown before each.

    Raises:
        InputError: a prompt, with the longest label behind it, is longer than the model's context.
    """
    longest = max(map(len, labels.tokens))
    prompts = [tokenizer.asked(row.query, context) for row, context in zip(examples, contexts, strict=True)]
    for row, prompt in zip(examples, prompts, strict=True):
        tokenizer.check_length(len(prompt) + longest, row.query)
    return prompts


def _asked(task: Task, tokenizer: PromptTokenizer, query: str | None) -> str:
    """A prompt that labels stand behind: of a query, or of the task's first one."""
    return tokenizer.rendered((task.evaluation or task.pool)[0].query if query is None else query)


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
    probabilities: Float[Tensor, "n labels"]
    """The probability of each label among them."""


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
    """Score the labels after each prompt, in batches of like length, with each adapter.

    Args:
        reader: the network with the adapters, behind what the prompts have in common if it is read once.
        prompts: tokens of each prompt, a shared prefix included.
        labels: the labels and how they compete. Whole labels are compared by the sum of their tokens' log
            probabilities, what stands behind them included.
        confidence: what the likeliest token's is; whole labels have theirs among the labels.
        batch_size: prompts that each adapter reads at once; by default as many as keep the device busy.
        advance: told how many prompts were newly scored.

    Returns:
        The scores with each adapter, in their order; the network as it is counts as one.
    """
    whole = labels.scoring != "token"
    responses = labels.tokens if whole else ((0,),)
    shape = (len(reader.adapters), len(prompts))
    log_probability = torch.zeros(*shape, len(responses), dtype=torch.float32)
    token = torch.zeros(shape, dtype=torch.long)
    token_confidence = torch.zeros(shape, dtype=torch.float32)
    among = torch.zeros(*shape, len(labels.tokens), dtype=torch.float32)

    def take(read: Pass) -> int:
        members = read.indices[: len(read.indices) // shape[0] : len(responses)]
        at = (slice(None), [index // len(responses) for index in members])
        if whole:
            log_probability[at] = _summed(read).view(shape[0], len(members), len(responses))
        else:
            best, sure, shares = _first_token(read, labels, confidence)
            token[at], token_confidence[at] = best.view(shape[0], -1), sure.view(shape[0], -1)
            among[at] = shares.view(shape[0], len(members), -1)
        return len(members)

    sequences = [TokenSequence(prompt, response) for prompt in prompts for response in responses]
    for scored in reader.taken(take, sequences, [LOGITS], batch_size=batch_size, group=len(responses)):
        advance(scored)
    probabilities = (log_probability if whole else among).softmax(-1)
    best_label = probabilities.max(-1)
    if whole:
        token_confidence = best_label.values
    tokens = [None] * shape[0] if whole else list(token)
    return list(map(LabelScores, tokens, token_confidence, best_label.indices, best_label.values, probabilities))


def _summed(read: Pass) -> Float[Tensor, " sequences"]:
    """The log probability of each sequence's response."""
    scores = read.activations[LOGITS].log_softmax(-1)
    chosen = scores.gather(1, read.batch.responses()[:, None])[:, 0]
    return torch.zeros(len(read.indices), device=chosen.device).index_add(0, read.batch.at().example, chosen).cpu()


def _first_token(
    read: Pass, labels: LabelTokens, confidence: Confidence
) -> tuple[Int[Tensor, " sequences"], Float[Tensor, " sequences"], Float[Tensor, "sequences labels"]]:
    """The likeliest token behind each prompt, its confidence, and the log probability of each label's first token."""
    scores = read.activations[LOGITS].log_softmax(-1)
    best = scores.max(-1)
    probability = best.values.exp()
    if confidence == "top-10":
        probability = probability / scores.topk(min(10, scores.shape[-1])).values.exp().sum(-1)
    return best.indices.cpu(), probability.cpu(), scores[:, [tokens[0] for tokens in labels.tokens]].cpu()
