"""The methods as values: a method is a list of stages, a stage an objective and where its responses come from."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ia2.errors import InputError
from ia2.objectives import ALIGN_ATTENTION, MATCH_TOKENS, Objective

LabelSource = Literal["ground-truth", "teacher"]
"""Whose responses the student reads and is trained on: the rows' own, or what the teacher answered in context."""


@dataclass(frozen=True)
class Stage:
    """One training run: from the adapter of the stage before, or from a fresh one."""

    objective: Objective
    labels: LabelSource

    @property
    def needs_targets(self) -> bool:
        """Whether the teacher must have been asked."""
        return self.labels == "teacher" or "attention" in self.objective.reads


@dataclass(frozen=True)
class Method:
    """A way to adapt (section 4)."""

    name: str
    description: str
    stages: tuple[Stage, ...]

    @property
    def needs_targets(self) -> bool:
        """Whether any stage does."""
        return any(stage.needs_targets for stage in self.stages)


ALIGN = Stage(ALIGN_ATTENTION, "teacher")
FINE_TUNE = Stage(MATCH_TOKENS, "ground-truth")

SFT = Method("sft", "supervised fine-tuning on the rows' own responses", (FINE_TUNE,))
IA2 = Method("ia2", "alignment of attention outputs with those in context", (ALIGN,))
IA2_THEN_SFT = Method("ia2-sft", "alignment first, then fine-tuning from there", (ALIGN, FINE_TUNE))

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in (SFT, IA2, IA2_THEN_SFT)})


def method_named(name: str) -> Method:
    """The method of this name.

    Raises:
        InputError: there is none.
    """
    if name not in METHODS:
        close = difflib.get_close_matches(name, METHODS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise InputError(f"--method {name}: no such method.{hint} There are {', '.join(METHODS)}.")
    return METHODS[name]
