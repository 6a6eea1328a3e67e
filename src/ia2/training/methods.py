"""Methods as values: a method is a list of stages, and a stage is an objective with a source of responses."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

from ia2.errors import FieldError, InputError
from ia2.models.sites import ATTENTION_LAYERS, ATTENTION_OUTPUT, Site
from ia2.training.early_stopping import checked_count
from ia2.training.method_names import DESCRIPTIONS, checked_method_name
from ia2.training.objectives import Align, AlignAndMatch, MatchDistribution, MatchTokens, Objective

LabelSource = Literal["ground-truth", "icl-response"]
"""The responses that the student is trained on: those of the rows, or the teacher's in-context responses."""

StageRowsChoice = Literal["all", "unlabelled"]

QWEN_BETAS, OTHER_BETAS = (0.1, 0.5, 0.7, 0.9), (0.001, 0.01, 0.05, 0.5)
"""Candidate weights β of the token loss beside alignment, for Qwen and for other models (PROTOCOL, Student)."""


def checked_learning_rate(value: float) -> float:
    """Return the learning rate if it is positive and finite.

    Raises:
        FieldError: the learning rate is zero, negative, infinite or NaN.

    Example:
        >>> checked_learning_rate(1e-3)
        0.001
    """
    if not (math.isfinite(value) and value > 0):
        raise FieldError("learning_rate", value, "this must be a positive number, such as 1e-3.")
    return value


@dataclass(frozen=True)
class Stage:
    """A training stage, which starts from the previous stage's adapter or from a fresh one.

    Example:
        >>> METHODS["sft"].stages[0].objective.name
        'match-tokens'
    """

    objective: Objective
    labels: LabelSource
    learning_rate: float | None = None
    """Learning rate of this stage; by default the method's."""
    epochs: int | None = None
    """Maximum number of epochs of this stage; by default that of `Training`."""
    solved: bool = False
    """Whether it is solved in closed form in one pass instead of by gradient steps (`ia2.training.closed_form`)."""

    rows: StageRowsChoice = "all"
    """The rows to train on: the training rows, and also unlabelled texts if responses are the teacher's (all); or
    unlabelled texts only."""
    steps_of: "tuple[Stage, ...]" = ()
    """If given, the stage takes exactly as many steps as these stages took together on the same set and learning
    rate, without early stopping."""

    def __post_init__(self) -> None:
        if self.solved and self.objective != Align():
            raise InputError("only plain alignment of all layers can be solved; train this stage by gradients.")
        if self.solved and (self.learning_rate is not None or self.epochs is not None):
            raise InputError("a solved stage takes no steps: leave its learning_rate and epochs out.")
        if self.learning_rate is not None:
            checked_learning_rate(self.learning_rate)
        if self.epochs is not None:
            checked_count("epochs", self.epochs)
        if self.rows == "unlabelled" and self.labels != "icl-response":
            raise InputError("unlabelled texts have only the teacher's responses: set labels to icl-response.")
        if self.steps_of and (self.solved or self.epochs is not None):
            raise InputError("steps_of sets the number of steps: leave solved and epochs out.")
        if self.steps_of and (
            all(stage.solved for stage in self.steps_of) or any(stage.steps_of for stage in self.steps_of)
        ):
            raise InputError("steps_of must name a method that takes steps and has no steps_of itself.")

    @property
    def needs_targets(self) -> bool:
        """Whether this stage, or a stage in `steps_of`, needs the teacher's targets."""
        asks = self.labels == "icl-response" or bool(self.objective.teacher_sites)
        return asks or any(stage.needs_targets for stage in self.steps_of)

    @property
    def teacher_sites(self) -> frozenset[Site]:
        """All sites read from the teacher, for this stage or for the stages in `steps_of`."""
        return self.objective.teacher_sites.union(*(stage.teacher_sites for stage in self.steps_of))

    @property
    def teacher_reads_responses(self) -> bool:
        """Whether its targets come from a teacher pass over the rows' responses instead of the teacher's own."""
        reads = self.labels == "ground-truth" and bool(self.objective.teacher_sites)
        return reads or any(stage.teacher_reads_responses for stage in self.steps_of)

    def fine_tuned_on(self, labels: LabelSource) -> "Stage":
        """Return the stage with these responses if it matches tokens, otherwise unchanged; likewise for `steps_of`."""
        fitted = replace(self, steps_of=tuple(stage.fine_tuned_on(labels) for stage in self.steps_of))
        return replace(fitted, labels=labels) if isinstance(self.objective, MatchTokens) else fitted


@dataclass(frozen=True)
class Method:
    """A method of training an adapter (section 4).

    Example:
        >>> [stage.objective.name for stage in METHODS["ia2-sft"].stages]
        ['align', 'match-tokens']
    """

    name: str
    description: str
    stages: tuple[Stage, ...]
    adapter: str | None = None
    """The only kind of adapter that the method can train; any by default."""
    tries_betas: bool = False
    """Whether to search over weights of the token loss, as over learning rates."""

    @property
    def needs_targets(self) -> bool:
        """Whether any stage needs the teacher's targets."""
        return any(stage.needs_targets for stage in self.stages)

    @property
    def teacher_sites(self) -> frozenset[Site]:
        """All sites read from the teacher by any stage."""
        return frozenset[Site]().union(*(stage.teacher_sites for stage in self.stages))

    @property
    def teacher_reads_responses(self) -> bool:
        """Whether any stage's targets come from a teacher pass over the rows' responses."""
        return any(stage.teacher_reads_responses for stage in self.stages)

    @property
    def has_learning_rate(self) -> bool:
        """Whether any stage is trained at the method's learning rate."""
        return any(not stage.solved and stage.learning_rate is None for stage in self.stages)

    @property
    def needs_unlabelled(self) -> bool:
        """Whether any stage trains on unlabelled texts only."""
        return any(stage.rows == "unlabelled" for stage in self.stages)

    @property
    def fits_tokens(self) -> bool:
        """Whether any stage is fine-tuned on response tokens, including the end token."""
        matched = (
            stage.objective.match if isinstance(stage.objective, AlignAndMatch) else stage.objective
            for stage in self.stages
        )
        return any(isinstance(objective, MatchTokens) for objective in matched)

    def fine_tuned_on(self, labels: LabelSource) -> "Method":
        """Return the method, under the same name, with these responses in all stages that match tokens."""
        return replace(self, stages=tuple(stage.fine_tuned_on(labels) for stage in self.stages))

    def candidates(self, betas: tuple[float, ...]) -> "tuple[Method, ...]":
        """Return the method with each of these weights of the token loss if it searches over them, else only itself."""
        if not self.tries_betas:
            return (self,)
        return tuple(
            replace(
                self,
                stages=tuple(
                    replace(stage, objective=replace(stage.objective, beta=beta))
                    if isinstance(stage.objective, AlignAndMatch)
                    else stage
                    for stage in self.stages
                ),
            )
            for beta in betas
        )

    @property
    def aligns_mixers(self) -> bool:
        """Whether a stage aligns outputs of token mixers, in all layers or only in attention layers."""
        names = {site.name for site in self.teacher_sites}
        return bool(names & {ATTENTION_OUTPUT.name, ATTENTION_LAYERS.name})

    @property
    def on_attention_alone(self) -> "Method":
        """The method restricted to attention layers wherever it aligns all token mixers.

        Raises:
            FieldError: a stage is solved in closed form, which requires all layers.
        """
        if any(stage.solved for stage in self.stages):
            raise FieldError("align", "attention", f"{self.name} is solved for all mixers. Use ia2 or ia2-sft.")
        return replace(
            self, stages=tuple(replace(stage, objective=_on_attention(stage.objective)) for stage in self.stages)
        )

    @property
    def beta(self) -> float | None:
        """Weight of the token loss beside alignment; None if no stage combines the two."""
        betas = [stage.objective.beta for stage in self.stages if isinstance(stage.objective, AlignAndMatch)]
        return betas[0] if betas else None


def _on_attention(objective: Objective) -> Objective:
    if isinstance(objective, AlignAndMatch):
        return replace(objective, align=_aligned_on_attention(objective.align))
    return _aligned_on_attention(objective) if isinstance(objective, Align) else objective


def _aligned_on_attention(align: Align) -> Align:
    if align.site.name != ATTENTION_OUTPUT.name:
        return align
    return replace(align, site=replace(align.site, name=ATTENTION_LAYERS.name))


ALIGN = Stage(Align(), "icl-response")
SOLVE = replace(ALIGN, solved=True)
FINE_TUNE = Stage(MatchTokens(), "ground-truth")

SFT = Method("sft", DESCRIPTIONS["sft"], (FINE_TUNE,))
IA2 = Method("ia2", DESCRIPTIONS["ia2"], (ALIGN,))
IA2_THEN_SFT = Method("ia2-sft", DESCRIPTIONS["ia2-sft"], (ALIGN, FINE_TUNE))
SFT_THEN_IA2 = Method("sft-ia2", DESCRIPTIONS["sft-ia2"], (FINE_TUNE, ALIGN))
IA2_WITH_SFT = Method(
    "ia2+sft",
    DESCRIPTIONS["ia2+sft"],
    (Stage(AlignAndMatch(0.5), "icl-response"),),
    tries_betas=True,
)
IA2_WITH_SOFT_SFT = Method(
    "ia2+soft",
    DESCRIPTIONS["ia2+soft"],
    (Stage(AlignAndMatch(0.5, match=MatchDistribution()), "icl-response"),),
    tries_betas=True,
)
LONG_SFT = Method("sft-long", DESCRIPTIONS["sft-long"], (replace(FINE_TUNE, steps_of=IA2_THEN_SFT.stages),))
SOFT_SFT = Method("sft-soft", DESCRIPTIONS["sft-soft"], (Stage(MatchDistribution(), "icl-response"),))
CONTEXT_DISTILLATION = Method(
    "context-distillation",
    DESCRIPTIONS["context-distillation"],
    (Stage(MatchDistribution(), "icl-response", rows="unlabelled"),),
)
SOLVED = Method("ia2-solved", DESCRIPTIONS["ia2-solved"], (SOLVE,))
MEAN_SHIFT = Method("mean-shift", DESCRIPTIONS["mean-shift"], (SOLVE,), "shift")
SOLVED_THEN_IA2 = Method("ia2-solved-ia2", DESCRIPTIONS["ia2-solved-ia2"], (SOLVE, ALIGN))
SOLVED_THEN_SFT = Method("ia2-solved-sft", DESCRIPTIONS["ia2-solved-sft"], (SOLVE, FINE_TUNE))

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        method.name: method
        for method in (
            SFT,
            IA2,
            IA2_THEN_SFT,
            SFT_THEN_IA2,
            IA2_WITH_SFT,
            IA2_WITH_SOFT_SFT,
            LONG_SFT,
            SOFT_SFT,
            CONTEXT_DISTILLATION,
            SOLVED,
            SOLVED_THEN_IA2,
            SOLVED_THEN_SFT,
            MEAN_SHIFT,
        )
    }
)

WITHOUT_TRAINING = (
    *("zero-shot", "icl", "icl-contextual", "icl-batch", "context", "logistic-hidden", "logistic-tfidf", "adapter"),
)
"""Names in records of evaluations without training; methods can't use them."""


def betas_for(model_type: str) -> tuple[float, ...]:
    """Return the candidate weights of the token loss for a model type, by its name in transformers."""
    return QWEN_BETAS if model_type.startswith("qwen") else OTHER_BETAS


def method_named(name: str) -> Method:
    """Return a built-in method by name.

    Raises:
        InputError: there is no such method.
    """
    return METHODS[checked_method_name(name)]
