"""The methods as values: a method is a list of stages, a stage an objective and where its responses come from."""

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
"""Whose responses the student reads and is trained on: the rows' own, or what the teacher answered in context."""

StageRowsChoice = Literal["all", "unlabelled"]

QWEN_BETAS, OTHER_BETAS = (0.1, 0.5, 0.7, 0.9), (0.001, 0.01, 0.05, 0.5)
"""Weights β of the token loss beside alignment, for Qwen models and for all others (PROTOCOL, Student)."""


def checked_learning_rate(value: float) -> float:
    """The learning rate, if a step can be taken with it.

    Raises:
        FieldError: it is zero, negative, infinite or not a number.

    Example:
        >>> checked_learning_rate(1e-3)
        0.001
    """
    if not (math.isfinite(value) and value > 0):
        raise FieldError("learning_rate", value, "this must be a positive number, such as 1e-3.")
    return value


@dataclass(frozen=True)
class Stage:
    """One training run: from the adapter of the stage before, or from a fresh one.

    Example:
        >>> METHODS["sft"].stages[0].objective.name
        'match-tokens'
    """

    objective: Objective
    labels: LabelSource
    learning_rate: float | None = None
    """The stage's own learning rate; by default the method's."""
    epochs: int | None = None
    """The stage's own maximum of epochs; by default that of `Training`."""
    solved: bool = False
    """Whether it is solved in one pass over the rows instead of by gradient steps (`ia2.training.closed_form`)."""

    rows: StageRowsChoice = "all"
    """Which rows it learns from: the training rows, and unlabelled texts if it uses the teacher's responses (all), or
    unlabelled texts only."""
    steps_of: "tuple[Stage, ...]" = ()
    """If given, it takes exactly as many steps as these stages together on the same set at the same rate, without early
    stopping."""

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
        """Whether the teacher's targets are needed, for this stage or for the stages in `steps_of`."""
        asks = self.labels == "icl-response" or bool(self.objective.teacher_sites)
        return asks or any(stage.needs_targets for stage in self.steps_of)

    @property
    def teacher_sites(self) -> frozenset[Site]:
        """All sites that are read from the teacher, for this stage or for the stages in `steps_of`."""
        return self.objective.teacher_sites.union(*(stage.teacher_sites for stage in self.steps_of))

    @property
    def teacher_reads_responses(self) -> bool:
        """Whether it is compared with a teacher that reads the rows' own responses."""
        reads = self.labels == "ground-truth" and bool(self.objective.teacher_sites)
        return reads or any(stage.teacher_reads_responses for stage in self.steps_of)

    def fine_tuned_on(self, labels: LabelSource) -> "Stage":
        """The stage with these responses if it matches tokens, and otherwise unchanged; `steps_of` likewise."""
        fitted = replace(self, steps_of=tuple(stage.fine_tuned_on(labels) for stage in self.steps_of))
        return replace(fitted, labels=labels) if isinstance(self.objective, MatchTokens) else fitted


@dataclass(frozen=True)
class Method:
    """A way to adapt (section 4).

    Example:
        >>> [stage.objective.name for stage in METHODS["ia2-sft"].stages]
        ['align', 'match-tokens']
    """

    name: str
    description: str
    stages: tuple[Stage, ...]
    adapter: str | None = None
    """The only kind of adapter that it can train; by default any."""
    tries_betas: bool = False
    """Whether several weights of the token loss are tried, like learning rates."""

    @property
    def needs_targets(self) -> bool:
        """Whether any stage does."""
        return any(stage.needs_targets for stage in self.stages)

    @property
    def teacher_sites(self) -> frozenset[Site]:
        """All sites that its stages read from the teacher."""
        return frozenset[Site]().union(*(stage.teacher_sites for stage in self.stages))

    @property
    def teacher_reads_responses(self) -> bool:
        """Whether any stage is compared with a teacher that reads the rows' own responses."""
        return any(stage.teacher_reads_responses for stage in self.stages)

    @property
    def has_learning_rate(self) -> bool:
        """Whether any stage is trained at the rate of the whole method."""
        return any(not stage.solved and stage.learning_rate is None for stage in self.stages)

    @property
    def needs_unlabelled(self) -> bool:
        """Whether any stage learns from unlabelled texts alone."""
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
        """The same method, under the same name, with these responses in all stages that match tokens."""
        return replace(self, stages=tuple(stage.fine_tuned_on(labels) for stage in self.stages))

    def candidates(self, betas: tuple[float, ...]) -> "tuple[Method, ...]":
        """The method with each of these weights of the token loss if it tries several; otherwise the method itself."""
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
        """Whether a stage aligns outputs of token mixers, in all layers or in attention layers only."""
        names = {site.name for site in self.teacher_sites}
        return bool(names & {ATTENTION_OUTPUT.name, ATTENTION_LAYERS.name})

    @property
    def on_attention_alone(self) -> "Method":
        """The same method, but aligning only attention layers wherever it aligns all token mixers.

        Raises:
            FieldError: a stage is solved, which works only for all layers.
        """
        if any(stage.solved for stage in self.stages):
            raise FieldError("align", "attention", f"{self.name} is solved for all mixers. Use ia2 or ia2-sft.")
        return replace(
            self, stages=tuple(replace(stage, objective=_on_attention(stage.objective)) for stage in self.stages)
        )

    @property
    def beta(self) -> float | None:
        """The weight of the token loss where a stage has one beside alignment."""
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
"""What records call measurements that trained nothing; no method can have such a name."""


def betas_for(model_type: str) -> tuple[float, ...]:
    """The weights of the token loss that are tried for a family of models, by its name in transformers."""
    return QWEN_BETAS if model_type.startswith("qwen") else OTHER_BETAS


def method_named(name: str) -> Method:
    """The method of this name.

    Raises:
        InputError: there is none.
    """
    return METHODS[checked_method_name(name)]
