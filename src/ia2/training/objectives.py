"""The losses: each compares what a student did at the response positions with what it was to do.

Every loss gives one value an example, the mean over its own response tokens; a batch's loss is the mean of these, so
that padding, accumulation and the order of rows change nothing (PROTOCOL, Student).
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from ia2.errors import FieldError, InputError
from ia2.training.layer_weights import Layers

Activation = Literal["attention", "logits"]


@dataclass(frozen=True)
class StudentOutputs:
    """What the student did at n response positions; None where the objective doesn't ask for it."""

    attention: Float[Tensor, "layers n hidden"] | None
    logits: Float[Tensor, "n vocabulary"] | None


@dataclass(frozen=True)
class Wanted:
    """What it was to do there; what the teacher did is None where the objective doesn't ask for it."""

    tokens: Int[Tensor, " n"]
    attention: Float[Tensor, "layers n hidden"] | None
    example: Int[Tensor, " n"]
    """Which example each position belongs to."""
    examples: int
    logits: Float[Tensor, "n vocabulary"] | None = None
    """The teacher's."""


class Objective(ABC):
    """A loss, and what it needs of a forward pass: no head is run for attention, no hooks are set for logits."""

    name: ClassVar[str]
    student: ClassVar[frozenset[Activation]]
    """What is read of the student."""
    teacher: ClassVar[frozenset[Activation]]
    """What is read of the teacher."""

    @abstractmethod
    def loss(self, student: StudentOutputs, wanted: Wanted) -> Float[Tensor, " examples"]:
        """The loss of each example."""


@dataclass(frozen=True)
class AlignAttention(Objective):
    """L_IA2 (equation 4): a sum over layers of how far attention outputs are from the teacher's.

    The paper writes a norm; its scripts, and PROTOCOL, take the mean squared error times the number of layers.
    """

    error: Literal["mse", "relative", "cosine"] = "mse"
    """At a token and layer: the mean squared difference over hidden units; the same over the teacher's mean square, so
    that layers of large activations don't outweigh others; or one minus the cosine."""
    layers: Layers = field(default_factory=Layers)
    """Which layers are aligned, and how much each counts."""
    name: ClassVar[str] = "align-attention"
    student: ClassVar[frozenset[Activation]] = frozenset({"attention"})
    teacher: ClassVar[frozenset[Activation]] = frozenset({"attention"})

    def loss(self, student: StudentOutputs, wanted: Wanted) -> Float[Tensor, " examples"]:
        """The loss of each example.

        Raises:
            InputError: layers were named that the model hasn't got.
        """
        if student.attention is None or wanted.attention is None:
            raise ValueError("the alignment loss compares attention outputs, and some are missing")
        ours, theirs = student.attention.float(), wanted.attention.float()
        weight = self.layers.weights(len(ours))
        if weight is not None:
            chosen = [layer for layer, value in enumerate(weight) if value]
            ours, theirs = ours[chosen], theirs[chosen]
        if self.error == "cosine":
            error = 1 - cosine_similarity(ours, theirs, dim=-1)
        else:
            error = (ours - theirs).square().mean(-1)
            if self.error == "relative":
                error = error / theirs.square().mean(-1)
        if weight is not None:
            error = error * torch.tensor([weight[layer] for layer in chosen], device=error.device)[:, None]
        return mean_by_example(error.sum(0), wanted)


@dataclass(frozen=True)
class MatchTokens(Objective):
    """L_SFT (equation 2): the mean cross-entropy over response tokens."""

    name: ClassVar[str] = "match-tokens"
    student: ClassVar[frozenset[Activation]] = frozenset({"logits"})
    teacher: ClassVar[frozenset[Activation]] = frozenset()

    def loss(self, student: StudentOutputs, wanted: Wanted) -> Float[Tensor, " examples"]:
        """The loss of each example."""
        if student.logits is None:
            raise ValueError("the token loss reads next-token logits, and they are missing")
        return mean_by_example(cross_entropy(student.logits.float(), wanted.tokens, reduction="none"), wanted)


@dataclass(frozen=True)
class MatchDistribution(Objective):
    """Soft labels: the divergence KL(teacher ‖ student) of next-token distributions, the mean over response tokens."""

    top: int | None = None
    """How many of the teacher's likeliest tokens keep their probability, the rest being spread evenly over all others;
    by default all."""
    name: ClassVar[str] = "match-distribution"
    student: ClassVar[frozenset[Activation]] = frozenset({"logits"})
    teacher: ClassVar[frozenset[Activation]] = frozenset({"logits"})

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise InputError(f"top {self.top}: at least one of the teacher's tokens must keep its probability.")

    def loss(self, student: StudentOutputs, wanted: Wanted) -> Float[Tensor, " examples"]:
        """The loss of each example."""
        if student.logits is None or wanted.logits is None:
            raise ValueError("the divergence compares next-token logits, and some are missing")
        theirs = self.evened(wanted.logits.float().log_softmax(-1))
        ours = student.logits.float().log_softmax(-1)
        divergence = torch.nn.functional.kl_div(ours, theirs, log_target=True, reduction="none").sum(-1)
        return mean_by_example(divergence, wanted)

    def evened(self, log_probability: Float[Tensor, "n vocabulary"]) -> Float[Tensor, "n vocabulary"]:
        """The same distributions with all but the likeliest tokens equally likely."""
        vocabulary = log_probability.shape[-1]
        if self.top is None or self.top >= vocabulary:
            return log_probability
        kept = log_probability.topk(self.top, dim=-1)
        rest = 1 - kept.values.exp().sum(-1, keepdim=True)
        floor = torch.finfo(torch.float32).tiny
        even = (rest / (vocabulary - self.top)).clamp_min(floor).log()
        return even.expand_as(log_probability).scatter(-1, kept.indices, kept.values)


def checked_beta(value: float) -> float:
    """The weight of the token loss beside alignment, if it is one.

    Raises:
        FieldError: it isn't between 0 and 1.
    """
    if not 0 <= value <= 1:
        raise FieldError("beta", value, "the weight of the token loss lies between 0 and 1.")
    return value


@dataclass(frozen=True)
class AlignAndMatch(Objective):
    """(1 − β) · L_IA2 + β · L_SFT in one stage (section 6, in the form of the published scripts; PROTOCOL, Student)."""

    beta: float
    name: ClassVar[str] = "align-and-match"
    student: ClassVar[frozenset[Activation]] = frozenset({"attention", "logits"})
    teacher: ClassVar[frozenset[Activation]] = frozenset({"attention"})

    def __post_init__(self) -> None:
        checked_beta(self.beta)

    def loss(self, student: StudentOutputs, wanted: Wanted) -> Float[Tensor, " examples"]:
        """The loss of each example."""
        align, match = AlignAttention().loss(student, wanted), MatchTokens().loss(student, wanted)
        return (1 - self.beta) * align + self.beta * match


def mean_by_example(value: Float[Tensor, " n"], wanted: Wanted) -> Float[Tensor, " examples"]:
    """The mean of each example's own positions."""
    zeros = torch.zeros(wanted.examples, dtype=value.dtype, device=value.device)
    total = zeros.index_add(0, wanted.example, value)
    count = zeros.index_add(0, wanted.example, torch.ones_like(value))
    return total / count
