"""The training loop: a stage of many adapters together, each optimiser step one forward and one backward pass."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor
from transformers import PreTrainedModel

from ia2.adapters.adapter import Adapter
from ia2.adapters.bank import Bank
from ia2.adapters.kind import Effect
from ia2.models.reader import Reader
from ia2.progress import Progress
from ia2.randomness import derived_seed
from ia2.training.adam import Adam
from ia2.training.early_stopping import EarlyStopping, StageHistory, Training
from ia2.training.methods import Stage
from ia2.training.student import Part, StageRows, bank_of, gradient_step, mean_losses, step_bytes

Outcome = tuple[Adapter, StageHistory]
"""The adapter that a stage ends with, and how the stage went."""


@dataclass
class Job:
    """One adapter on its way through a stage."""

    rows: StageRows
    start: Adapter
    stopping: EarlyStopping
    learning_rate: float
    """Learning rate of this adapter's Adam."""
    stages_before: int
    """Stages that it has been through."""
    best_values: Tensor | None = None
    """Its values when early stopping last said to keep them."""

    @property
    def noise(self) -> int:
        """What the next step's dropout follows from: of a set, the same for all methods and learning rates."""
        return derived_seed(self.stopping.seed, f"dropout of stage {self.stages_before}, step {self.stopping.step}")


def bank_size(network: PreTrainedModel, jobs: Sequence[Job], effect: Effect, budget: float, progress: Progress) -> int:
    """How many of these adapters can be trained together in the memory there is; one at the least.

    Args:
        network: the frozen model.
        jobs: the adapters.
        effect: what they do.
        budget: bytes that training may take beyond the model.
        progress: told where they can't all be trained together.
    """
    if len(jobs) == 1:
        return 1
    largest: dict[Stage, Part] = {}
    for job in jobs:
        training = job.stopping.training
        rows = min(training.batch_size, training.rows_per_pass or training.batch_size)
        part = Part(job.rows.stage, job.rows.train, job.rows.train.longest(rows))
        if part.stage not in largest or part.tokens > largest[part.stage].tokens:
            largest[part.stage] = part
    reader = trained_reader(network, jobs[:1], effect)
    most = max(step_bytes(reader, part) for part in largest.values())
    size = max(1, min(len(jobs), int(budget // most)))
    if size < len(jobs):
        progress.say(
            f"{len(jobs)} adapters would take about {len(jobs) * most / 2**30:.1f} GiB together, and "
            f"{budget / 2**30:.1f} GiB may be used: {size} are trained at a time."
        )
    return size


def trained_reader(network: PreTrainedModel, jobs: Sequence[Job], effect: Effect) -> Reader:
    """Reads with a bank of the jobs' adapters, which gradients reach."""
    bank = Bank(network, [job.start.weights for job in jobs], effect)
    bank.values.requires_grad_(True)
    return Reader(network, bank)


def train_stage(
    network: PreTrainedModel, jobs: Sequence[Job], effect: Effect, training: Training, name: str, progress: Progress
) -> list[Outcome]:
    """Train a stage of every job, each until its own early stopping; finished adapters are dropped from the bank.

    Args:
        network: the frozen model.
        jobs: the adapters.
        effect: what they do.
        training: in which passes rows are read; the rest each job knows.
        name: what the stage is called in what is said.
        progress: told which steps are done.

    Returns:
        Each job's best adapter, which is the one that it started with where training diverged, and its history.
    """
    reader = trained_reader(network, jobs, effect)
    bank = bank_of(reader)
    optimiser = Adam(bank.values.detach(), [job.learning_rate for job in jobs])
    outcomes: dict[int, Outcome] = {}
    active = dict(enumerate(jobs))
    with progress.phase(f"train {name}", sum(job.stopping.most_steps for job in jobs)) as advance:
        while active:
            with _shared_time(list(active.values())):
                _evaluate_due(reader, list(active.values()), training)
            staying = [index for index, job in enumerate(active.values()) if not job.stopping.finished]
            if len(staying) < len(active):
                for number, job in list(active.items()):
                    if job.stopping.finished:
                        outcomes[number] = _outcome(job, bank)
                        del active[number]
                bank.keep(staying)
                optimiser.keep(staying)
            if active:
                with _shared_time(list(active.values())):
                    _step(reader, list(active.values()), optimiser, training)
            advance(len(active))
    return [outcomes[number] for number in range(len(jobs))]


@contextmanager
def _shared_time(jobs: Sequence[Job]) -> Iterator[None]:
    """Each of these adapters has its share of the seconds that the block takes."""
    begun = time.perf_counter()
    yield
    for job in jobs:
        job.stopping.seconds += (time.perf_counter() - begun) / len(jobs)


def _evaluate_due(reader: Reader, jobs: Sequence[Job], training: Training) -> None:
    """Take the dev losses that are due at this step, and keep the adapters that are the best so far."""
    due = [
        Part(job.rows.stage, job.rows.dev, range(len(job.rows.dev.sequences)), index)
        for index, job in enumerate(jobs)
        if job.stopping.awaits_dev_loss
    ]
    for part, loss in zip(due, mean_losses(reader, due, training.rows_per_pass), strict=True):
        if jobs[part.adapter].stopping.note_dev_loss(loss):
            jobs[part.adapter].best_values = bank_of(reader).values[part.adapter].detach().clone()


def _step(reader: Reader, jobs: Sequence[Job], optimiser: Adam, training: Training) -> None:
    """One optimiser step of every adapter, each with its own next rows."""
    parts = [
        Part(job.rows.stage, job.rows.train, job.stopping.next_batch(), index, job.noise)
        for index, job in enumerate(jobs)
    ]
    step_losses = gradient_step(reader, parts, training.rows_per_pass)
    values = bank_of(reader).values
    assert values.grad is not None, "every adapter has learnt from rows"
    optimiser.step(values, values.grad)
    for job, loss in zip(jobs, step_losses, strict=True):
        job.stopping.note_step(loss)


def _outcome(job: Job, bank: Bank) -> Outcome:
    history = job.stopping.history(job.rows.stage.objective.name)
    if job.stopping.kept_step is None or job.best_values is None:  # diverged
        return job.start, history
    return replace(job.start, weights={**job.start.weights, **bank.named(job.best_values)}), history
