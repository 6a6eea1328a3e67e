"""Losses that compare a student's activations or logits at some sites with their targets.

A loss returns one value per example, the mean over the example's positions. A batch's loss is the mean of these, so it
doesn't depend on padding, gradient accumulation or the order of rows (PROTOCOL, Student).
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
class ObjectiveTargets:
    """Targets at the positions of a batch of examples."""

    tokens: Int[Tensor, " n"]
    """Response tokens of all examples, concatenated."""
    activations: Activations
    """The teacher's activations at each site that the objective compares."""
    example: Mapping[Site, Int[Tensor, " _"]]
    """Example index of each position of a site."""
    examples: int


class Objective(ABC):
    """A loss and the sites that it reads; the language-model head runs only if they include logits."""

    name: ClassVar[str]

    @property
    @abstractmethod
    def student_sites(self) -> frozenset[Site]:
        """Sites read from the student."""

    @property
    def teacher_sites(self) -> frozenset[Site]:
        """Sites read from the teacher."""
        return frozenset()

    @abstractmethod
    def loss(self, student: Activations, targets: ObjectiveTargets) -> Float[Tensor, " examples"]:
        """Return the loss of each example.

        Args:
            student: the student's activations at each of its sites, positions first.
            targets: the targets.

        Raises:
            ValueError: a site is missing.
        """


@dataclass(frozen=True)
class Align(Objective):
    """L_IA2 (equation 4): the error between the student's and the teacher's activations at a site, summed over layers.

    The paper writes a norm; its scripts and PROTOCOL use the mean squared error times the number of layers.

    Example:
        >>> import torch
        >>> teacher, student = torch.zeros(1, 2, 4), torch.ones(1, 2, 4)  # one position, two layers, four units
        >>> example = {ATTENTION_OUTPUT: torch.zeros(1, dtype=torch.long)}
        >>> targets = ObjectiveTargets(torch.tensor([3]), {ATTENTION_OUTPUT: teacher}, example, examples=1)
        >>> Align().loss({ATTENTION_OUTPUT: student}, targets)
        tensor([2.])
    """

    site: Site = ATTENTION_OUTPUT
    """The site to align, including its positions."""
    error: AlignmentError = "mse"
    """The error at a position and layer: the mean squared difference over hidden units (mse); the same divided by the
    teacher's mean square, so that layers with large activations don't dominate (relative); or one minus the cosine
    (cosine)."""
    layers: Layers = field(default_factory=Layers)
    """The layers to align, and their weights."""
    name: ClassVar[str] = "align"

    def __post_init__(self) -> None:
        if self.error not in get_args(AlignmentError):
            raise InputError(f"error {self.error!r}: choose from {', '.join(get_args(AlignmentError))}.")
        if self.site == LOGITS:
            raise InputError("site 'logits': distributions are matched, not aligned; use match-distribution.")

    @property
    def student_sites(self) -> frozenset[Site]:
        """The aligned site."""
        return frozenset({self.site})

    @property
    def teacher_sites(self) -> frozenset[Site]:
        """The aligned site."""
        return frozenset({self.site})

    def loss(self, student: Activations, targets: ObjectiveTargets) -> Float[Tensor, " examples"]:
        """Return the loss of each example.

        Raises:
            InputError: the model lacks a selected layer.
            ValueError: the site is missing.
        """
        ours, theirs = _at_site(student, self.site).float(), _at_site(targets.activations, self.site).float()
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
        return mean_by_example(error.sum(1), targets.example[self.site], targets.examples)


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

    def loss(self, student: Activations, targets: ObjectiveTargets) -> Float[Tensor, " examples"]:
        """Return the loss of each example. Raises ValueError if logits are missing."""
        logits = _at_site(student, LOGITS).float()
        entropy = cross_entropy(logits, targets.tokens, reduction="none")
        if self.smoothing:
            scores = logits.log_softmax(-1)
            masked = scores.isneginf()
            uniform_term = -scores.masked_fill(masked, 0.0).sum(-1) / (~masked).sum(-1)
            entropy = (1 - self.smoothing) * entropy + self.smoothing * uniform_term
        return mean_by_example(entropy, targets.example[LOGITS], targets.examples)


@dataclass(frozen=True)
class MatchDistribution(Objective):
    """Soft labels: KL(teacher ‖ student) of the next-token distributions, averaged over response tokens.

    Example:
        >>> MatchDistribution().name
        'match-distribution'
    """

    top: int | None = None
    """Number of the teacher's most probable tokens that keep their probability; the remaining probability is spread
    evenly over the other tokens. By default all keep theirs."""
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
        """Next-token logits."""
        return frozenset({LOGITS})

    def loss(self, student: Activations, targets: ObjectiveTargets) -> Float[Tensor, " examples"]:
        """Return the loss of each example. Raises ValueError if logits are missing."""
        theirs = self.evened(_at_site(targets.activations, LOGITS).float().log_softmax(-1))
        ours = _at_site(student, LOGITS).float().log_softmax(-1)
        # a token masked by the teacher's head has probability 0 and contributes nothing; 0 · ∞ would be NaN
        possible = theirs > -torch.inf
        ours, theirs = ours.where(possible, 0.0), theirs.where(possible, 0.0)
        divergence = (possible * theirs.exp() * (theirs - ours)).sum(-1)
        return mean_by_example(divergence, targets.example[LOGITS], targets.examples)

    def evened(self, log_probability: Float[Tensor, "n vocabulary"]) -> Float[Tensor, "n vocabulary"]:
        """Return the distributions with all but the `top` most probable tokens made equally likely."""
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
    """Return the weight of the token loss beside alignment if it is valid.

    Raises:
        FieldError: the weight is not between 0 and 1.
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
    """The alignment loss."""
    match: MatchTokens | MatchDistribution = field(default_factory=MatchTokens)
    """The matching loss: on the response's tokens, or on the teacher's distributions in place of L_SFT."""
    name: ClassVar[str] = "align-and-match"

    def __post_init__(self) -> None:
        checked_beta(self.beta)

    @property
    def student_sites(self) -> frozenset[Site]:
        """The aligned site and next-token logits."""
        return self.align.student_sites | self.match.student_sites

    @property
    def teacher_sites(self) -> frozenset[Site]:
        """The aligned site, and logits if distributions are matched."""
        return self.align.teacher_sites | self.match.teacher_sites

    def loss(self, student: Activations, targets: ObjectiveTargets) -> Float[Tensor, " examples"]:
        """Return the loss of each example. Raises the errors of both losses."""
        align, match = self.align.loss(student, targets), self.match.loss(student, targets)
        return (1 - self.beta) * align + self.beta * match


def mean_by_example(
    value: Float[Tensor, " n"], example: Int[Tensor, " n"], examples: int
) -> Float[Tensor, " examples"]:
    """Return the mean value over each example's positions.

    Args:
        value: value at each position.
        example: example index of each position.
        examples: number of examples.

    Example:
        >>> import torch
        >>> mean_by_example(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 1, 0]), 2)
        tensor([2., 2.])
    """
    zeros = torch.zeros(examples, dtype=value.dtype, device=value.device)
    total = zeros.index_add(0, example, value)
    count = zeros.index_add(0, example, torch.ones_like(value))
    # an example may have no positions when only prompts are read
    return total / count.clamp_min(1)


def _at_site(activations: Activations, site: Site) -> Tensor:
    if site not in activations:
        raise ValueError(f"the loss reads {site}, and it is missing")
    return activations[site]
