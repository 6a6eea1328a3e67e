"""Early stopping: which rows an adapter is trained on next, when its dev loss is due, and when training ends."""

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
    """Whether training ends after at most `epochs` passes, or continues, for at most 1000 passes, until early stopping
    ends it. The paper's limit of 50 cuts off most alignment stages."""
    dev_every: int = 2
    """Steps between dev evaluations; there is another one after each epoch's last step."""
    patience: int = 5
    """Dev evaluations without a new best before training stops."""
    keep: Literal["best", "last"] = "best"
    """Whether the adapter with the lowest dev loss is kept, or the last one (as in the published scripts)."""
    clip: float | None = None
    """Maximum norm of an adapter's gradient; larger gradients are scaled down to it. None for no clipping."""
    rows_per_pass: int | None = None
    """Rows per forward pass, if a whole batch doesn't fit in memory; gradients are accumulated."""

    def __post_init__(self) -> None:
        for name in ("batch_size", "epochs", "dev_every", "patience", "rows_per_pass"):
            if (value := getattr(self, name)) is not None:
                checked_count(name, value)
        if self.until == "converged" and self.epochs != Training.epochs:
            raise FieldError("until", self.until, "this stands in place of epochs. Leave one of the two out.")
        if self.clip is not None and not self.clip > 0:
            raise FieldError("clip", self.clip, "this must be more than 0.")

    @property
    def most_epochs(self) -> int:
        """The most passes over the training rows, whatever ends training."""
        return CONVERGED_EPOCHS if self.until == "converged" else self.epochs

    def for_epochs(self, epochs: int) -> "Training":
        """The same for at most so many passes."""
        return replace(self, epochs=epochs, until="epochs")


def checked_count(field: str, value: int) -> int:
    """A number of things, if there is any.

    Raises:
        FieldError: it is less than 1.
    """
    if value < 1:
        raise FieldError(field, value, "this must be 1 or more.")
    return value


@dataclass(frozen=True)
class StageHistory:
    """What happened while a stage was trained."""

    objective: str
    steps: int
    """Optimiser steps taken."""
    best_step: int
    """The step after which the dev loss was lowest; 0 where none was a finite number."""
    kept_step: int
    """The step after which the adapter was kept: the best or the last one, as `Training.keep` says; 0 where training
    diverged."""
    stopped_by: Literal["patience", "epochs", "steps", "solved", "diverged"]
    """What ended it; `steps` where it takes as many as other stages."""
    train_losses: tuple[float, ...]
    """The loss of each step's batch, before the step."""
    dev_losses: tuple[tuple[int, float], ...]
    """Step and dev loss of each dev evaluation."""
    seconds: float = field(default=0.0, compare=False)
    """Its share of the time that the stage took."""

    @property
    def dev_loss(self) -> float:
        """The kept adapter's dev loss; infinite where training diverged."""
        return math.inf if self.stopped_by == "diverged" else dict(self.dev_losses)[self.kept_step]


@dataclass
class EarlyStopping:
    """Where one adapter stands in a stage: told of each step and dev loss, it says what comes next."""

    rows: int
    seed: int
    training: Training
    exact_steps: int | None = None
    """Steps that are taken whatever the dev loss does; by default patience and the epochs end training."""
    step: int = 0
    """Steps taken so far."""
    train_losses: list[float] = field(default_factory=list)
    """The losses of the first steps; on a GPU, those of the latest may not have been read back yet."""
    dev_losses: list[tuple[int, float]] = field(default_factory=list)
    best_step: int | None = None
    stale: int = 0
    """Dev evaluations since the best one."""
    seconds: float = 0.0
    """Its share of the time that was spent; who trains adapters together divides the time among them."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in one pass over the rows."""
        return math.ceil(self.rows / self.training.batch_size)

    @property
    def most_steps(self) -> int:
        """Steps if nothing stops training early."""
        return self.training.most_epochs * self.steps_per_epoch if self.exact_steps is None else self.exact_steps

    def next_batch(self) -> Sequence[int]:
        """The rows of the next step: every epoch takes all of them in an order of its own."""
        epoch, step = divmod(self.step, self.steps_per_epoch)
        order = list(range(self.rows))
        generator(self.seed, f"order of epoch {epoch}").shuffle(order)
        return order[step * self.training.batch_size : (step + 1) * self.training.batch_size]

    def note_step(self) -> None:
        """A step was taken; the loss of its batch is told later."""
        self.step += 1

    def note_train_loss(self, loss: float) -> None:
        """The loss of the earliest step whose loss wasn't told yet."""
        self.train_losses.append(loss)

    @property
    def dev_due(self) -> bool:
        """Whether the dev loss is to be taken now: every few steps, and after an epoch's last and the last of all."""
        ends = self.step % self.steps_per_epoch == 0 or self.step == self.most_steps
        return self.step % self.training.dev_every == 0 or ends

    @property
    def awaits_dev_loss(self) -> bool:
        """Whether the dev loss is due and wasn't taken yet."""
        return self.step > 0 and self.dev_due and not (self.dev_losses and self.dev_losses[-1][0] == self.step)

    @property
    def kept_step(self) -> int | None:
        """The step whose adapter would be kept if training ended now; None where its dev loss is no finite number."""
        if self.training.keep == "best" or not self.dev_losses:
            return self.best_step
        step, loss = self.dev_losses[-1]
        return step if math.isfinite(loss) else None

    def note_dev_loss(self, loss: float) -> bool:
        """A dev loss was taken; says whether the adapter as it is now is to be kept until a later one is.

        A dev loss that is not a number is never the best.
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
        """Whether patience or the epochs have run out, and nothing is left to be measured."""
        return not self.awaits_dev_loss and self._run_out

    @property
    def _run_out(self) -> bool:
        return self._patience_is_over or self.step >= self.most_steps

    @property
    def _patience_is_over(self) -> bool:
        return self.exact_steps is None and self.stale >= self.training.patience

    def history(self, objective: str) -> StageHistory:
        """How the stage went. Where the adapter that would be kept has no finite dev loss, training diverged."""
        ran_out: Literal["patience", "epochs", "steps"] = "epochs" if self.exact_steps is None else "steps"
        ran_out = "patience" if self._patience_is_over else ran_out
        return StageHistory(
            objective,
            self.step,
            self.best_step or 0,
            self.kept_step or 0,
            "diverged" if self.kept_step is None else ran_out,
            tuple(self.train_losses),
            tuple(self.dev_losses),
            self.seconds,
        )
