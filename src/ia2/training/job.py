"""A job of the training loop: one adapter in one stage, with its progress."""

from dataclasses import dataclass, replace

from torch import Tensor

from ia2.adapters.adapter import Adapter
from ia2.adapters.bank import Bank
from ia2.randomness import derived_seed
from ia2.training.early_stopping import EarlyStopping, StageHistory
from ia2.training.student import StageRows

Outcome = tuple[Adapter, StageHistory]
"""The adapter at the end of a stage, and the stage's history."""


@dataclass
class Job:
    """One adapter in a training stage."""

    rows: StageRows
    start: Adapter
    stopping: EarlyStopping
    learning_rate: float
    """Learning rate of this adapter's Adam."""
    stages_before: int
    """Number of stages that it has completed."""
    best_values: Tensor | None = None
    """Its values at the best dev evaluation so far."""

    @property
    def noise(self) -> int:
        """Return the seed of the next step's dropout, which is the same for all methods and learning rates of a set."""
        return derived_seed(self.stopping.seed, f"dropout of stage {self.stages_before}, step {self.stopping.step}")

    def outcome(self, bank: Bank) -> Outcome:
        """Return the adapter to keep, which is the initial one if training diverged, and the history."""
        history = self.stopping.history(self.rows.stage.objective.name)
        if self.stopping.kept_step is None or self.best_values is None:  # diverged
            return self.start, history
        return replace(self.start, weights={**self.start.weights, **bank.named(self.best_values)}), history
