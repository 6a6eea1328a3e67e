"""The losses: each compares a student's activations or logits at some sites with their targets.

Every loss gives one value an example, the mean over its own positions; a batch's loss is the mean of these, so that
padding, accumulation and the order of rows change nothing (PROTOCOL, Student).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from ia2.errors import FieldError, InputError
from ia2.models.sites import ATTENTION_OUTPUT, LOGITS, Activations, Site
from ia2.training.layer_weights import Layers

AlignmentError = Literal["mse", "relative", "cosine"]


@dataclass(frozen=True)
class Wanted:
    """The targets at the positions of some examples."""

    tokens: Int[Tensor, " n"]
    """The response tokens, example after example."""
    activations: Activations
    """The teacher's activations at each site that the objective compares."""
    example: Mapping[Site, Int[Tensor, " _"]]
    """Which example each position of a site belongs to."""
    examples: int


class Objective(ABC):
    """A loss and the sites that it reads; the language-model head runs only if logits are among them."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def student_sites(self) -> frozenset[Site]:
        """The sites read from the student."""

    @property
    def teacher_sites(self) -> frozenset[Site]:
        """The sites read from the teacher."""
        return frozenset()

    @abstractmethod
    def loss(self, student: Activations, wanted: Wanted) -> Float[Tensor, " examples"]:
        """The loss of each example.

        Args:
            student: the student's activations at each of its sites, positions first.
            wanted: the targets.

        Raises:
            ValueError: a site is missing.
        """


@dataclass(frozen=True)
class Align(Objective):
    """L_IA2 (equation 4): a sum over layers of how far a site's activations are from the teacher's.

    The paper writes a norm; its scripts, and PROTOCOL, take the mean squared error times the number of layers.

    Example:
        >>> import torch
        >>> teacher, student = torch.zeros(1, 2, 4), torch.ones(1, 2, 4)  # one position, two layers, four units
        >>> example = {ATTENTION_OUTPUT: torch.zeros(1, dtype=torch.long)}
        >>> wanted = Wanted(torch.tensor([3]), {ATTENTION_OUTPUT: teacher}, example, examples=1)
        >>> Align().loss({ATTENTION_OUTPUT: student}, wanted)
        tensor([2.])
    """

    site: Site = ATTENTION_OUTPUT
    """What is aligned, and at which positions."""
    error: AlignmentError = "mse"
    """The error at a position and layer: the mean squared difference over hidden units (mse); the same divided by the
    teacher's mean square, so that layers with large activations don't dominate (relative); or one minus the cosine
    (cosine)."""
    layers: Layers = field(default_factory=Layers)
    """Which layers are aligned, and how much each counts."""
    name: ClassVar[str] = "align"

    def __post_init__(self) -> None:
        if self.error not in get_args(AlignmentError):
            raise InputError(f"error {self.error!r}: choose from {', '.join(get_args(AlignmentError))}.")
        if self.site == LOGITS:
            raise InputError("site 'logits': distributions are matched, not aligned; use match-distribution.")

    @property
    def student_sites(self) -> frozenset[Site]:
        """The site that is aligned."""
        return frozenset({self.site})

    @property
    def teacher_sites(self) -> frozenset[Site]:
        """The same."""
        return frozenset({self.site})

    def loss(self, student: Activations, wanted: Wanted) -> Float[Tensor, " examples"]:
        """The loss of each example.

        Raises:
            InputError: the model doesn't have all of the chosen layers.
            ValueError: the site is missing.
        """
        ours, theirs = _read(student, self.site).float(), _read(wanted.activations, self.site).float()
        chosen = self.layers.chosen(ours.shape[1], ours.device)
        if chosen is not None:
            ours, theirs = ours.index_select(1, chosen.layer), theirs.index_select(1, chosen.layer)
        if self.error == "cosine":
            error = 1 - cosine_similarity(ours, theirs, dim=-1)
        else:
            error = (ours - theirs).square().mean(-1)
            if self.error == "relative":
                error = error / theirs.square().mean(-1)
        if chosen is not None:
            error = error * chosen.weight
        return mean_by_example(error.sum(1), wanted.example[self.site], wanted.examples)


@dataclass(frozen=True)
class MatchTokens(Objective):
    """L_SFT (equation 2): the mean cross-entropy over response tokens.

    Example:
        >>> METHODS["sft"].stages[0].objective
        MatchTokens(smoothing=0.0)
    """

    smoothing: float = 0.0
    """The share ε of the target probability that is spread evenly over the vocabulary (label smoothing, Szegedy et al.
    2016, section 7): (1 - ε) on the response's token, and ε over the whole vocabulary, including this token. Tokens
    masked by the network's head are excluded."""
    name: ClassVar[str] = "match-tokens"

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise FieldError("smoothing", self.smoothing, "this must be 0 or more, and less than 1.")

    @property
    def student_sites(self) -> frozenset[Site]:
        """Next-token logits."""
        return frozenset({LOGITS})

    def loss(self, student: Activations, wanted: Wanted) -> Float[Tensor, " examples"]:
        """The loss of each example. Raises ValueError where logits are missing."""
        logits = _read(student, LOGITS).float()
        entropy = cross_entropy(logits, wanted.tokens, reduction="none")
        if self.smoothing:
            scores = logits.log_softmax(-1)
            masked = scores.isneginf()
            evenly = -scores.masked_fill(masked, 0.0).sum(-1) / (~masked).sum(-1)
            entropy = (1 - self.smoothing) * entropy + self.smoothing * evenly
        return mean_by_example(entropy, wanted.example[LOGITS], wanted.examples)


@dataclass(frozen=True)
class MatchDistribution(Objective):
    """Soft labels: KL(teacher ‖ student) of the next-token distributions, averaged over response tokens.

    Example:
        >>> MatchDistribution().name
        'match-distribution'
    """

    top: int | None = None
    """How many of the teacher's likeliest tokens keep their probability; the rest is spread evenly over all other
    tokens. By default all keep it."""
    name: ClassVar[str] = "match-distribution"

    def __post_init__(self) -> None:
        if self.top is not None and self.top < 1:
            raise InputError(f"top {self.top}: at least one of the teacher's tokens must keep its probability.")

    @property
    def student_sites(self) -> frozenset[Site]:
        """Next-token logits."""
        return frozenset({LOGITS})

    @property
    def teacher_sites(self) -> frozenset[Site]:
        """The same."""
        return frozenset({LOGITS})

    def loss(self, student: Activations, wanted: Wanted) -> Float[Tensor, " examples"]:
        """The loss of each example. Raises ValueError where logits are missing."""
        theirs = self.evened(_read(wanted.activations, LOGITS).float().log_softmax(-1))
        ours = _read(student, LOGITS).float().log_softmax(-1)
        # a token that the teacher's head masks has no probability and adds nothing, where 0 · ∞ would be no number
        possible = theirs > -torch.inf
        ours, theirs = ours.where(possible, 0.0), theirs.where(possible, 0.0)
        divergence = (possible * theirs.exp() * (theirs - ours)).sum(-1)
        return mean_by_example(divergence, wanted.example[LOGITS], wanted.examples)

    def evened(self, log_probability: Float[Tensor, "n vocabulary"]) -> Float[Tensor, "n vocabulary"]:
        """The same distributions, with all but the `top` likeliest tokens equally likely."""
        vocabulary = log_probability.shape[-1]
        if self.top is None or self.top >= vocabulary:
            return log_probability
        likeliest = log_probability.topk(self.top, dim=-1)
        rest = 1 - likeliest.values.exp().sum(-1, keepdim=True)
        floor = torch.finfo(torch.float32).tiny
        possible = log_probability > -torch.inf
        others = (possible.sum(-1, keepdim=True) - self.top).clamp_min(1)
        even = (rest / others).clamp_min(floor).log().expand_as(log_probability)
        return even.where(possible, -torch.inf).scatter(-1, likeliest.indices, likeliest.values)


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
    """(1 − β) · L_IA2 + β · L_SFT in one stage (section 6, in the form of the published scripts; PROTOCOL, Student).

    Example:
        >>> AlignAndMatch(beta=0.5).beta
        0.5
    """

    beta: float
    """Weight of the matched loss, in [0, 1]."""
    align: Align = field(default_factory=Align)
    """What is aligned, and how."""
    match: MatchTokens | MatchDistribution = field(default_factory=MatchTokens)
    """What is matched: the response's tokens, or the teacher's distributions in place of L_SFT."""
    name: ClassVar[str] = "align-and-match"

    def __post_init__(self) -> None:
        checked_beta(self.beta)

    @property
    def student_sites(self) -> frozenset[Site]:
        """The site that is aligned, and next-token logits."""
        return self.align.student_sites | self.match.student_sites

    @property
    def teacher_sites(self) -> frozenset[Site]:
        """The site that is aligned, and logits where distributions are matched."""
        return self.align.teacher_sites | self.match.teacher_sites

    def loss(self, student: Activations, wanted: Wanted) -> Float[Tensor, " examples"]:
        """The loss of each example. Raises as both losses do."""
        align, match = self.align.loss(student, wanted), self.match.loss(student, wanted)
        return (1 - self.beta) * align + self.beta * match


def mean_by_example(
    value: Float[Tensor, " n"], example: Int[Tensor, " n"], examples: int
) -> Float[Tensor, " examples"]:
    """The mean of each example's own positions.

    Args:
        value: what each position has.
        example: which example it belongs to.
        examples: how many there are.

    Example:
        >>> import torch
        >>> mean_by_example(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 1, 0]), 2)
        tensor([2., 2.])
    """
    zeros = torch.zeros(examples, dtype=value.dtype, device=value.device)
    total = zeros.index_add(0, example, value)
    count = zeros.index_add(0, example, torch.ones_like(value))
    # an example may have no position where only prompts are read
    return total / count.clamp_min(1)


def _read(activations: Activations, site: Site) -> Tensor:
    if site not in activations:
        raise ValueError(f"the loss reads {site}, and it is missing")
    return activations[site]
