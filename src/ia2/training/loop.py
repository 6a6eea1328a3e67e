"""The training loop: a stage of many adapters in parallel, with one forward and backward pass per optimiser step."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from ia2.adapters.bank import Bank
from ia2.adapters.kind import Effect
from ia2.models.pass_limits import attempt, no_room
from ia2.models.reader import Reader
from ia2.models.recomputation import recomputed_feed_forward
from ia2.progress import SILENT, Progress
from ia2.training.adam import Adam
from ia2.training.early_stopping import Training
from ia2.training.job import Job, Outcome
from ia2.training.methods import Stage
from ia2.training.passes import TrainingPass, bank_of, busy_tokens, dev_passes, gradient_step, mean_losses, step_bytes
from ia2.training.shares import PassSize
from ia2.training.stage_checkpoint import StageCheckpoint, StageState
from ia2.training.student import Part


class BankSize(NamedTuple):
    """How many adapters to train together in the available memory."""

    adapters: int
    """Number of adapters per bank, at least 1."""
    recomputed: bool = False
    """Whether feed-forward blocks are recomputed in the backward pass, so that more adapters fit."""


def bank_size(
    network: PreTrainedModel, jobs: Sequence[Job], effect: Effect, budget: float, progress: Progress
) -> BankSize:
    """Return how many of these adapters can be trained together within a memory budget.

    If not all fit, and those that do wouldn't keep the device busy, feed-forward blocks are recomputed in the backward
    pass, so that more fit: recomputation then costs less than smaller banks.

    Args:
        network: the frozen model.
        jobs: the adapters.
        effect: the adapters' computation.
        budget: bytes that training may use beyond the model.
        progress: where a message is shown if not all can be trained together.
    """
    if len(jobs) == 1:
        return BankSize(1)
    largest: dict[Stage, Part] = {}
    for job in jobs:
        training = job.stopping.training
        rows = min(training.batch_size, training.rows_per_pass or training.batch_size)
        part = Part(job.rows.stage, job.rows.train, job.rows.train.longest(rows))
        if part.stage not in largest or part.tokens > largest[part.stage].tokens:
            largest[part.stage] = part
    reader = trained_reader(network, jobs[:1], effect)

    def fitting() -> tuple[int, int]:
        most = max(step_bytes(reader, part) for part in largest.values())
        return max(1, min(len(jobs), int(budget // most))), most

    adapters, most = fitting()
    if adapters == len(jobs):
        return BankSize(adapters)
    recomputed, size = False, f"{len(jobs) * most / 2**30:.1f} GiB"
    if adapters * max(part.tokens for part in largest.values()) < busy_tokens(network.device):
        with recomputed_feed_forward(network):
            more, _ = fitting()
        recomputed, adapters = more > adapters, max(more, adapters)
    trained = "all are trained together" if adapters == len(jobs) else f"{adapters} are trained at a time"
    again = ", with feed-forward blocks recomputed in the backward pass" if recomputed else ""
    progress.say(
        f"{len(jobs)} adapters would need about {size} together, but {budget / 2**30:.1f} GiB may be used: "
        f"{trained}{again}."
    )
    return BankSize(adapters, recomputed)


def trained_reader(network: PreTrainedModel, jobs: Sequence[Job], effect: Effect) -> Reader:
    """Return a reader with a bank of the jobs' adapters, whose values require gradients."""
    bank = Bank(network, [job.start.weights for job in jobs], effect)
    bank.values.requires_grad_(True)
    return Reader(network, bank)


def train_stage(
    network: PreTrainedModel,
    jobs: Sequence[Job],
    effect: Effect,
    training: Training,
    name: str,
    progress: Progress,
    checkpoint: StageCheckpoint | None = None,
) -> list[Outcome]:
    """Train a stage of every job until its own early stopping; finished adapters are removed from the bank.

    Args:
        network: the frozen model.
        jobs: the adapters.
        effect: the adapters' computation.
        training: rows per pass and gradient clipping; all other settings are each job's own.
        name: the stage's name in progress messages.
        progress: where completed steps are shown.
        checkpoint: stores the stage every few minutes; training continues from what an earlier process stored there.

    Returns:
        Each job's best adapter and its history; the adapter is the initial one if training diverged.
    """
    stage = RunningStage(network, jobs, effect, training, progress)
    if checkpoint is not None and (state := checkpoint.load(stage.bank.sections)) is not None:
        stage.resume(state)
        progress.say(f"{name}: continued after step {state.steps}, which an earlier, interrupted run had reached.")
    with progress.phase(f"train {name}", sum(job.stopping.max_steps for job in jobs)) as advance:
        advance(sum(job.stopping.step for job in jobs))
        while stage.active:
            with _shared_time(stage.active):
                stage.evaluate_due()
            stage.drop_finished()
            if checkpoint is not None and checkpoint.due and stage.active and not stage.unread:
                checkpoint.save(stage.state(), progress)
            if stage.active:
                with _shared_time(stage.active):
                    stage.step()
            advance(len(stage.active))
    return [stage.outcomes[number] for number in range(len(jobs))]


@contextmanager
def _shared_time(jobs: Sequence[Job]) -> Iterator[None]:
    """Add to each of these adapters an equal share of the seconds that the block takes."""
    begun = time.perf_counter()
    yield
    for job in jobs:
        job.stopping.seconds += (time.perf_counter() - begun) / len(jobs)


class RunningStage:
    """The unfinished adapters of a stage, and the outcomes of the finished ones."""

    def __init__(
        self,
        network: PreTrainedModel,
        jobs: Sequence[Job],
        effect: Effect,
        training: Training,
        progress: Progress = SILENT,
    ) -> None:
        self.training, self.progress = training, progress
        self.size = PassSize(None, training.rows_per_pass)
        """Maximum size of a pass, reduced when the device runs out of memory."""
        self.reader = trained_reader(network, jobs, effect)
        self.bank = bank_of(self.reader)
        self.optimiser = Adam(self.bank.values.detach(), [job.learning_rate for job in jobs])
        self.jobs = list(jobs)
        self.numbers, self.active = list(range(len(jobs))), list(jobs)
        """The unfinished jobs and their indices, in the order of the bank."""
        self.outcomes: dict[int, Outcome] = {}
        self.unread: list[Float[Tensor, " adapters"]] = []
        """Losses of the steps since the last dev evaluation, on the device until the next one reads them back."""
        self.laid_out: dict[tuple[int, ...], list[TrainingPass]] = {}
        """Batches of dev evaluations, by the bank indices that they evaluate; valid until the bank changes."""

    def state(self) -> StageState:
        """Return what the stage's continuation depends on, just after a dev evaluation, when all losses are read."""
        assert not self.unread, "no loss is lost"
        best = {number: job.best_values for number, job in enumerate(self.jobs) if job.best_values is not None}
        moments = self.optimiser.mean, self.optimiser.square
        stopping = [job.stopping.state for job in self.jobs]
        return StageState(stopping, self.numbers, self.bank.values.detach(), *moments, best, self.bank.sections)

    def resume(self, state: StageState) -> None:
        """Continue from a state that another process reached with the same jobs."""
        for number, (job, stopping) in enumerate(zip(self.jobs, state.stopping, strict=True)):
            job.stopping = job.stopping.at(stopping)
            job.best_values = state.best[number].to(self.bank.values) if number in state.best else None
        self.drop_finished()
        assert self.numbers == list(state.numbers), "the same adapters are unfinished"
        self.optimiser.steps = state.steps
        with torch.no_grad():
            for current, reached in (
                (self.bank.values, state.values),
                (self.optimiser.mean, state.mean),
                (self.optimiser.square, state.square),
            ):
                current.copy_(reached)

    def evaluate_due(self) -> None:
        """Compute the dev losses due at this step, and keep the values of adapters that are the best so far."""
        due = tuple(index for index, job in enumerate(self.active) if job.stopping.awaits_dev_loss)
        if not due:
            return
        rows = [self.active[index].rows for index in due]
        parts = [
            Part(of.stage, of.dev, range(len(of.dev.sequences)), index) for index, of in zip(due, rows, strict=True)
        ]
        dev_losses = self._in_memory(parts, lambda: self._dev_losses(due, parts))
        # the only synchronisation with the device during training
        read = torch.cat([*self.unread, dev_losses]).tolist()
        for position, loss in enumerate(read[: -len(due)]):
            self.active[position % len(self.active)].stopping.note_train_loss(loss)
        self.unread.clear()
        for index, loss in zip(due, read[-len(due) :], strict=True):
            if self.active[index].stopping.note_dev_loss(loss):
                self.active[index].best_values = self.bank.values[index].detach().clone()

    def _dev_losses(self, due: tuple[int, ...], parts: Sequence[Part]) -> Float[Tensor, " due"]:
        """Return these adapters' dev losses; their batches are laid out once and reused until the bank changes."""
        if due not in self.laid_out:
            self.laid_out[due] = dev_passes(self.reader, parts, self.size)
        return mean_losses(self.reader, self.laid_out[due], len(due))

    def _in_memory(self, parts: Sequence[Part], losses: Callable[[], Tensor]) -> Tensor:
        """Compute the losses of the parts; if the device runs out of memory, use smaller passes from now on.

        `losses` changes no state before it returns, so it can be repeated.

        Raises:
            InputError: one row of one adapter doesn't fit.
        """
        while True:
            result, reason = attempt(losses)
            if result is not None:
                return result
            smaller = self.size.halved(len(parts), max(len(part.indices) for part in parts))
            if smaller is None:
                raise no_room(self.bank.network, "one row of one adapter", str(reason))
            self.size = smaller
            self.laid_out.clear()
            rows = "" if smaller.rows is None else f", {smaller.rows} of its rows"
            self.progress.say(
                f"The device's memory ran out: a pass now takes {smaller.parts} of {len(parts)} adapters{rows}."
            )

    def drop_finished(self) -> None:
        """Remove finished adapters from the bank."""
        staying = [index for index, job in enumerate(self.active) if not job.stopping.finished]
        if len(staying) == len(self.active):
            return
        for number, job in zip(self.numbers, self.active, strict=True):
            if job.stopping.finished:
                self.outcomes[number] = job.outcome(self.bank)
        self.numbers = [self.numbers[index] for index in staying]
        self.active = [self.active[index] for index in staying]
        self.bank.keep(staying)
        self.optimiser.keep(staying)
        self.laid_out.clear()

    def step(self) -> None:
        """Take one optimiser step for every adapter, each on its own next batch."""
        noisy = self.bank.effect.dropout_rate > 0
        parts = [
            Part(job.rows.stage, job.rows.train, job.stopping.next_batch(), index, job.noise if noisy else None)
            for index, job in enumerate(self.active)
        ]
        self.unread.append(self._in_memory(parts, lambda: gradient_step(self.reader, parts, self.size)))
        values = self.bank.values
        assert values.grad is not None, "every adapter has learnt from rows"
        if self.training.clip is not None:
            clip(values.grad, self.training.clip)
        self.optimiser.step(values, values.grad)
        for job in self.active:
            job.stopping.note_step()


@torch.no_grad()
def clip(gradient: Float[Tensor, "adapters values"], most: float) -> None:
    """Scale each adapter's gradient in place to a norm of at most `most`; smaller gradients are unchanged."""
    gradient.mul_((most / gradient.norm(dim=1, keepdim=True)).clamp(max=1.0))
