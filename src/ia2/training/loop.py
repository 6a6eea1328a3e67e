"""A stage of many adapters descended together: an optimiser step of all is one forward and one backward pass."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from ia2.adapters.adapter import Adapter
from ia2.adapters.bank import Adam, Bank
from ia2.adapters.forms import Form
from ia2.models.memory import free_bytes
from ia2.progress import Progress
from ia2.randomness import derived_seed
from ia2.training.early_stopping import Course, StageHistory, Training
from ia2.training.methods import Stage
from ia2.training.student import Part, StageRows, gradient_step, mean_losses, step_bytes


@dataclass
class Job:
    """One adapter on its way through a stage."""

    rows: StageRows
    start: Adapter
    course: Course
    rate: float
    """Adam's."""
    stages_before: int
    """Stages that it has been through."""
    kept: Tensor | None = None
    """Its values when its course last said to keep them."""

    @property
    def noise(self) -> int:
        """What the next step's dropout follows from: of a set, the same for all methods and learning rates."""
        return derived_seed(self.course.seed, f"dropout of stage {self.stages_before}, step {self.course.step}")


def bank_size(
    network: PreTrainedModel, jobs: Sequence[Job], form: Form, memory: float | None, progress: Progress
) -> int:
    """How many of these adapters can be trained together in the memory there is; one at the least.

    Args:
        network: the frozen model.
        jobs: the adapters.
        form: theirs.
        memory: bytes that training may take beyond the model; by default what is free, less a tenth.
        progress: told where they can't all be trained together.
    """
    if len(jobs) == 1:
        return 1
    budget = memory if memory is not None else 0.9 * free_bytes(network.device)
    largest: dict[Stage, Part] = {}
    for job in jobs:
        own = job.course.training
        rows = min(own.batch_size, own.rows_per_pass or own.batch_size)
        part = Part(job.rows.stage, job.rows.train, job.rows.train.longest(rows))
        if part.stage not in largest or part.tokens > largest[part.stage].tokens:
            largest[part.stage] = part
    bank = Bank(network, [jobs[0].start.weights], form)
    bank.values.requires_grad_(True)
    most = max(step_bytes(network, bank, part) for part in largest.values())
    size = max(1, min(len(jobs), int(budget // most)))
    if size < len(jobs):
        progress.say(
            f"{len(jobs)} adapters would take about {len(jobs) * most / 2**30:.1f} GiB together, and "
            f"{budget / 2**30:.1f} GiB may be used: {size} are trained at a time."
        )
    return size


def descend(
    network: PreTrainedModel, jobs: Sequence[Job], form: Form, training: Training, name: str, progress: Progress
) -> list[tuple[Adapter, StageHistory]]:
    """Train a stage of every job, each until its own course is over; who is over leaves the bank.

    Args:
        network: the frozen model.
        jobs: the adapters.
        form: theirs.
        training: in which passes rows are read; the rest each course knows.
        name: what the stage is called in what is said.
        progress: told which steps are done.

    Returns:
        Each job's kept adapter, which is the one that it started with where training diverged, and its course.
    """
    bank = Bank(network, [job.start.weights for job in jobs], form)
    bank.values.requires_grad_(True)
    optimiser = Adam(bank.values.detach(), [job.rate for job in jobs])
    kept: dict[int, tuple[Adapter, StageHistory]] = {}
    going = dict(enumerate(jobs))
    with progress.phase(f"train {name}", sum(job.course.most_steps for job in jobs)) as advance:
        while going:
            active = list(going.values())
            with _shared_time(active):
                _check(network, bank, active, training)
            stays = [place for place, job in enumerate(active) if not job.course.over]
            if len(stays) < len(active):
                for number, job in list(going.items()):
                    if job.course.over:
                        kept[number] = _kept(job, bank)
                        del going[number]
                bank.keep(stays)
                optimiser.keep(stays)
            if going:
                active = list(going.values())
                with _shared_time(active):
                    _step(network, bank, active, optimiser, training)
            advance(len(going))
    return [kept[number] for number in range(len(jobs))]


@contextmanager
def _shared_time(jobs: Sequence[Job]) -> Iterator[None]:
    """Each of these adapters has its share of the seconds that the block takes."""
    begun = time.perf_counter()
    yield
    for job in jobs:
        job.course.seconds += (time.perf_counter() - begun) / len(jobs)


def _check(network: PreTrainedModel, bank: Bank, jobs: Sequence[Job], training: Training) -> None:
    """Measure the dev losses that are due, and keep the adapters that are to be kept."""
    due = [
        Part(job.rows.stage, job.rows.dev, range(len(job.rows.dev.sequences)), place)
        for place, job in enumerate(jobs)
        if job.course.awaits_dev_loss
    ]
    for part, loss in zip(due, mean_losses(network, due, bank, training.rows_per_pass), strict=True):
        if jobs[part.adapter].course.note_dev_loss(loss):
            jobs[part.adapter].kept = bank.values[part.adapter].detach().clone()


def _step(network: PreTrainedModel, bank: Bank, jobs: Sequence[Job], optimiser: Adam, training: Training) -> None:
    """One optimiser step of every adapter, each with the next rows of its own."""
    parts = [
        Part(job.rows.stage, job.rows.train, job.course.next_batch(), place, job.noise)
        for place, job in enumerate(jobs)
    ]
    lost = gradient_step(network, bank, parts, training.rows_per_pass)
    assert bank.values.grad is not None, "every adapter has learnt from rows"
    optimiser.step(bank.values, bank.values.grad)
    for job, loss in zip(jobs, lost, strict=True):
        job.course.note_step(loss)


def _kept(job: Job, bank: Bank) -> tuple[Adapter, StageHistory]:
    history = job.course.history(job.rows.stage.objective.name)
    if job.course.kept_step is None or job.kept is None:  # diverged
        return job.start, history
    return Adapter(job.start.configuration, bank.named(job.kept)), history
