"""Plans for training adapters, and trained adapters."""

from dataclasses import dataclass
from pathlib import Path

from ia2.adapters.adapter import Adapter
from ia2.prompting.fewshot import FewShotSet
from ia2.training.early_stopping import StageHistory
from ia2.training.methods import Method, checked_learning_rate
from ia2.training.stage_tree import StageKey
from ia2.training.targets import Targets


@dataclass(frozen=True)
class Trained:
    """A trained adapter and the history of its training.

    Example:
        >>> few = FewShotSet.draw(task, 2)
        >>> trained = train(model, few, METHODS["sft"], learning_rate=1e-3, training=Training(epochs=2))
        >>> trained.stages[-1].steps
        2
    """

    adapter: Adapter
    learning_rate: float | None
    """None if no stage was trained at the plan's learning rate."""
    stages: tuple[StageHistory, ...]

    @property
    def dev_loss(self) -> float:
        """Dev loss of the last stage, by which learning rates are compared; infinite if training diverged."""
        return self.stages[-1].dev_loss

    @property
    def diverged(self) -> bool:
        """Whether a stage ended without a finite dev loss; the adapter is then the one from before that stage."""
        return any(stage.stopped_by == "diverged" for stage in self.stages)

    def then(self, adapter: Adapter, stage: StageHistory, learning_rate: float | None) -> "Trained":
        """Return the result after one more stage."""
        return Trained(adapter, learning_rate, (*self.stages, stage))

    def save(self, folder: Path | str) -> None:
        """Write the adapter in PEFT's format."""
        self.adapter.save(folder)


@dataclass(frozen=True)
class Plan:
    """An adapter to train.

    Example:
        >>> few = FewShotSet.draw(task, 2)
        >>> Plan(few, METHODS["ia2-sft"], 1e-3, collect_targets(model, few)).learning_rate
        0.001
    """

    few_shot_set: FewShotSet
    method: Method
    learning_rate: float
    """Learning rate of Adam in all stages that don't set one."""
    targets: Targets | None = None
    """The teacher's targets for this set, if the method needs them."""

    def __post_init__(self) -> None:
        checked_learning_rate(self.learning_rate)
        if self.method.needs_targets and self.targets is None:
            raise ValueError(
                f"{self.method.name} learns from the teacher: pass targets=collect_targets(model, few_shot_set)"
            )
        if self.method.needs_unlabelled and not self.few_shot_set.unlabelled:
            raise ValueError(f"{self.method.name} learns from unlabelled texts alone, and the set has none")
        if self.method.teacher_reads_responses and (self.targets is None or self.targets.on_responses is None):
            raise ValueError(
                f"{self.method.name} reads the teacher on the rows' own responses: "
                "pass replace(targets, on_responses=collect_targets(..., on_responses=True))"
            )
        if self.targets is not None and (missing := self.method.teacher_sites - self.targets.sites):
            raise ValueError(
                f"{self.method.name} reads {', '.join(sorted(map(str, missing)))} of the teacher: "
                "pass collect_targets(..., sites=method.teacher_sites)"
            )


Done = dict[StageKey, Trained]
"""Adapters that are already trained, by everything that they depend on."""
