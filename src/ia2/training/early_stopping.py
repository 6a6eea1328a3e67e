"""Early stopping: an adapter's next batch, when to evaluate its dev loss, and when to stop training."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ia2.errors import FieldError
from ia2.randomness import generator

CONVERGED_EPOCHS = 1000
"""Maximum number of passes over the training rows if training continues until convergence."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a stage is trained; the defaults are PROTOCOL's.

    Example:
        >>> Training(epochs=10).epochs
        10
    """

    batch_size: int = 4
    """Rows per optimiser step (all of them if there are fewer)."""
    epochs: int = 50
    """Maximum number of passes over the training rows."""
    until: Literal["epochs", "converged"] = "epochs"
    """Whether training stops after at most `epochs` passes, or runs until early stopping ends it, for at most 1000
    passes. The paper's limit of 50 cuts most alignment stages short."""
    dev_every: int = 2
    """Steps between dev evaluations; the dev loss is also evaluated after the last step of each epoch."""
    patience: int = 5
    """Dev evaluations without a new best before training stops."""
    keep: Literal["best", "last"] = "best"
    """Whether to keep the adapter with the lowest dev loss, or the last one (as in the published scripts)."""
    clip: float | None = None
    """Maximum norm of an adapter's gradient; larger gradients are scaled down to it. None for no clipping."""
    rows_per_pass: int | None = None
    """Rows per forward pass, for batches that don't fit in memory; gradients are accumulated."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "dev_every", "patience", "rows_per_pass"):
            if (value := getattr(self, name)) is not None:
                checked_count(name, value)
        if self.until == "converged" and self.epochs != Training.epochs:
            raise FieldError("until", self.until, "this stands in place of epochs. Leave one of the two out.")
        if self.clip is not None and not self.clip > 0:
            raise FieldError("clip", self.clip, "this must be more than 0.")

    @property
    def max_epochs(self) -> int:
        """Maximum number of passes over the training rows, for either value of `until`."""
        return CONVERGED_EPOCHS if self.until == "converged" else self.epochs

    def for_epochs(self, epochs: int) -> "Training":
        """Return a copy that trains for at most `epochs` passes."""
        return replace(self, epochs=epochs, until="epochs")


def checked_count(field: str, value: int) -> int:
    """Return a count if it is at least 1.

    Raises:
        FieldError: the count is less than 1.
    """
    if value < 1:
        raise FieldError(field, value, "this must be 1 or more.")
    return value


@dataclass(frozen=True)
class StageHistory:
    """How the training of a stage went."""

    objective: str
    steps: int
    """Optimiser steps taken."""
    best_step: int
    """The step with the lowest dev loss; 0 if no dev loss was finite."""
    kept_step: int
    """The step whose adapter was kept: the best or the last one, according to `Training.keep`; 0 if training
    diverged."""
    stopped_by: Literal["patience", "epochs", "steps", "solved", "diverged"]
    """What ended training; `steps` if the number of steps was fixed to that of other stages."""
    train_losses: tuple[float, ...]
    """Loss of each step's batch, before the step."""
    dev_losses: tuple[tuple[int, float], ...]
    """Step and dev loss of each dev evaluation."""
    seconds: float = field(default=0.0, compare=False)
    """This adapter's share of the stage's training time."""

    @property
    def dev_loss(self) -> float:
        """Dev loss of the kept adapter; infinite if training diverged."""
        return math.inf if self.stopped_by == "diverged" else dict(self.dev_losses)[self.kept_step]


@dataclass(frozen=True)
class StoppingState:
    """The fields of `EarlyStopping` that change while an adapter is trained, as a checkpoint stores them."""

    step: int
    train_losses: tuple[float, ...]
    dev_losses: tuple[tuple[int, float], ...]
    best_step: int | None
    stale: int
    seconds: float


@dataclass
class EarlyStopping:
    """Early-stopping state of one adapter in a stage, updated after each step and each dev evaluation."""

    rows: int
    seed: int
    training: Training
    exact_steps: int | None = None
    """Fixed number of steps, without early stopping; by default patience and the epochs end training."""
    step: int = 0
    """Steps taken so far."""
    train_losses: list[float] = field(default_factory=list)
    """Losses of the steps so far; on a GPU, the latest ones may not have been read back yet."""
    dev_losses: list[tuple[int, float]] = field(default_factory=list)
    best_step: int | None = None
    stale: int = 0
    """Dev evaluations since the best one."""
    seconds: float = 0.0
    """This adapter's share of the training time so far; the training loop divides the time among the adapters."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps per epoch."""
        return math.ceil(self.rows / self.training.batch_size)

    @property
    def max_steps(self) -> int:
        """Number of steps without early stopping."""
        return self.training.max_epochs * self.steps_per_epoch if self.exact_steps is None else self.exact_steps

    @property
    def state(self) -> StoppingState:
        """Return a copy of what has changed since training began."""
        losses = tuple(self.train_losses), tuple(self.dev_losses)
        return StoppingState(self.step, *losses, self.best_step, self.stale, self.seconds)

    def at(self, state: StoppingState) -> "EarlyStopping":
        """Return early stopping of the same adapter in this state."""
        losses = {"train_losses": list(state.train_losses), "dev_losses": list(state.dev_losses)}
        return replace(self, **{**vars(state), **losses})

    def next_batch(self) -> Sequence[int]:
        """Return the rows of the next step; each epoch visits all rows in a new order."""
        epoch, step = divmod(self.step, self.steps_per_epoch)
        order = list(range(self.rows))
        generator(self.seed, f"order of epoch {epoch}").shuffle(order)
        return order[step * self.training.batch_size : (step + 1) * self.training.batch_size]

    def note_step(self) -> None:
        """Count a step; its loss is reported later by `note_train_loss`."""
        self.step += 1

    def note_train_loss(self, loss: float) -> None:
        """Record the loss of the earliest step without one."""
        self.train_losses.append(loss)

    @property
    def dev_due(self) -> bool:
        """Whether to evaluate the dev loss now: every `dev_every` steps, after each epoch, and after the last step."""
        ends = self.step % self.steps_per_epoch == 0 or self.step == self.max_steps
        return self.step % self.training.dev_every == 0 or ends

    @property
    def awaits_dev_loss(self) -> bool:
        """Whether the dev loss is due and has not been evaluated yet."""
        return self.step > 0 and self.dev_due and not (self.dev_losses and self.dev_losses[-1][0] == self.step)

    @property
    def kept_step(self) -> int | None:
        """The step whose adapter is kept if training ends now; None if its dev loss is not finite."""
        if self.training.keep == "best" or not self.dev_losses:
            return self.best_step
        step, loss = self.dev_losses[-1]
        return step if math.isfinite(loss) else None

    def note_dev_loss(self, loss: float) -> bool:
        """Record a dev loss and return whether the current adapter should replace the kept one.

        A dev loss of NaN is never the best.
        """
        best = min((earlier for _, earlier in self.dev_losses if math.isfinite(earlier)), default=math.inf)
        self.dev_losses.append((self.step, loss))
        if loss < best:
            self.best_step, self.stale = self.step, 0
        else:
            self.stale += 1
        return self.kept_step == self.step

    @property
    def finished(self) -> bool:
        """Whether training is over and no dev evaluation is pending."""
        return not self.awaits_dev_loss and self._training_over

    @property
    def _training_over(self) -> bool:
        return self._out_of_patience or self.step >= self.max_steps

    @property
    def _out_of_patience(self) -> bool:
        return self.exact_steps is None and self.stale >= self.training.patience

    def history(self, objective: str) -> StageHistory:
        """Return the stage's history; training diverged if the adapter to keep has no finite dev loss."""
        stopped_by: Literal["patience", "epochs", "steps"] = "epochs" if self.exact_steps is None else "steps"
        stopped_by = "patience" if self._out_of_patience else stopped_by
        return StageHistory(
            objective,
            self.step,
            self.best_step or 0,
            self.kept_step or 0,
            "diverged" if self.kept_step is None else stopped_by,
            tuple(self.train_losses),
            tuple(self.dev_losses),
            self.seconds,
        )
