"""The losses: each compares what a student did at the response positions with what it was to do.

Every function returns one value an example, the mean over its own response tokens; a batch's loss is the mean of these,
so that padding, accumulation and the order of rows change nothing (PROTOCOL, Student).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class StudentOutputs:
    """What the student did at n response positions; None where the objective doesn't ask for it."""

    attention: Float[Tensor, "layers n hidden"] | None
    logits: Float[Tensor, "n vocabulary"] | None


@dataclass(frozen=True)
class Wanted:
    """What it was to do there; the teacher's attention is None where the objective doesn't ask for it."""

    tokens: Int[Tensor, " n"]
    attention: Float[Tensor, "layers n hidden"] | None
    example: Int[Tensor, " n"]
    """Which example each position belongs to."""
    examples: int


@dataclass(frozen=True)
class Objective:
    """A loss, and what it needs of a forward pass: no head is run for attention, no hooks are set for logits."""

    name: str
    loss: Callable[[StudentOutputs, Wanted], Float[Tensor, " examples"]]
    reads: frozenset[Literal["attention", "logits"]]


def alignment_loss(student: StudentOutputs, wanted: Wanted) -> Float[Tensor, " examples"]:
    """L_IA2 of each example (equation 4): the sum over layers of the mean squared error over (tokens, hidden).

    The paper writes a norm; its scripts, and PROTOCOL, take the mean squared error times the number of layers.
    """
    if student.attention is None or wanted.attention is None:
        raise ValueError("the alignment loss compares attention outputs, and some are missing")
    difference = student.attention.float() - wanted.attention.float()
    return mean_by_example(difference.square().mean(-1).sum(0), wanted)


def token_loss(student: StudentOutputs, wanted: Wanted) -> Float[Tensor, " examples"]:
    """L_SFT of each example (equation 2): the mean cross-entropy over its response tokens."""
    if student.logits is None:
        raise ValueError("the token loss reads next-token logits, and they are missing")
    return mean_by_example(cross_entropy(student.logits.float(), wanted.tokens, reduction="none"), wanted)


def mean_by_example(value: Float[Tensor, " n"], wanted: Wanted) -> Float[Tensor, " examples"]:
    """The mean of each example's own positions."""
    zeros = torch.zeros(wanted.examples, dtype=value.dtype, device=value.device)
    total = zeros.index_add(0, wanted.example, value)
    count = zeros.index_add(0, wanted.example, torch.ones_like(value))
    return total / count


ALIGN_ATTENTION = Objective("align-attention", alignment_loss, frozenset({"attention"}))
MATCH_TOKENS = Objective("match-tokens", token_loss, frozenset({"logits"}))
