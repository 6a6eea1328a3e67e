"""Training adapters: one optimiser step of all that are trained together is one forward and one backward pass."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from torch import Tensor
from transformers import PreTrainedModel

from ia2.adapters.adapter import Adapter, bank_of, fresh_adapter
from ia2.adapters.kinds import AdapterKind, LoRA, form_of
from ia2.course import Course, StageHistory, Training
from ia2.errors import InputError
from ia2.fewshot import FewShotSet
from ia2.methods import Method, Stage
from ia2.models.bank import Adam, Bank
from ia2.models.forms import Form
from ia2.models.load import LanguageModel
from ia2.models.memory import free_bytes
from ia2.progress import SILENT, Progress
from ia2.randomness import derived_seed
from ia2.solving import solved
from ia2.student import Part, StageRows, StudentRows, gradient_step, mean_losses, step_bytes
from ia2.teacher import Targets


@dataclass(frozen=True)
class Trained:
    """An adapter and how it came about."""

    adapter: Adapter
    learning_rate: float | None
    """None where no stage was trained at the rate of the plan."""
    stages: tuple[StageHistory, ...]

    @property
    def dev_loss(self) -> float:
        """The last stage's lowest dev loss, by which learning rates are compared; infinite where training diverged."""
        return self.stages[-1].best_dev_loss

    @property
    def diverged(self) -> bool:
        """Whether no dev loss of a stage was a finite number; the adapter is as it was before that stage."""
        return any(stage.stopped_by == "diverged" for stage in self.stages)

    def save(self, folder: Path | str) -> None:
        """Write the adapter in PEFT's format."""
        self.adapter.save(folder)


@dataclass(frozen=True)
class Plan:
    """An adapter that is to be trained."""

    few_shot_set: FewShotSet
    method: Method
    learning_rate: float
    """Adam's, in every stage that hasn't one of its own."""
    targets: Targets | None = None
    """The teacher's for this set, where the method needs them."""

    def __post_init__(self) -> None:
        checked_learning_rate(self.learning_rate)
        if self.method.needs_targets and self.targets is None:
            raise ValueError(
                f"{self.method.name} learns from the teacher: pass targets=collect_targets(model, few_shot_set)"
            )
        if self.method.needs_distributions and self.targets is not None and self.targets.train[0].logits is None:
            raise ValueError(
                f"{self.method.name} learns from distributions: pass collect_targets(..., distributions=True)"
            )

    def until(self, stage: int) -> "StagesKey":
        """What the adapter is after so many stages depends on."""
        stages = self.method.stages[:stage]
        own = all(stage.solved or stage.learning_rate is not None for stage in stages)
        return self.few_shot_set, stages, None if own else self.learning_rate


StagesKey = tuple[FewShotSet, tuple[Stage, ...], float | None]
StagesDone = dict[StagesKey, Trained]
"""What was trained before, by the set, the stages behind it and the learning rate."""


def checked_learning_rate(value: float) -> float:
    """The learning rate, if a step can be taken with it.

    Raises:
        InputError: it is zero, negative, infinite or not a number.
    """
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"--lr {value:g}: a learning rate must be a positive number, such as 1e-3.")
    return value


def train(
    model: LanguageModel,
    few_shot_set: FewShotSet,
    method: Method,
    *,
    learning_rate: float,
    targets: Targets | None = None,
    adapter: AdapterKind = LoRA(),  # noqa: B008 - a frozen value
    training: Training = Training(),  # noqa: B008 - a frozen value
    done: StagesDone | None = None,
    progress: Progress = SILENT,
) -> Trained:
    """Train one adapter: a bank of one. See `train_all`.

    Raises:
        FloatingPointError: no dev loss of a stage was a finite number: training diverged.
    """
    plan = Plan(few_shot_set, method, learning_rate, targets)
    trained = train_all(model, [plan], adapter=adapter, training=training, done=done, progress=progress)[0]
    if trained.diverged:
        raise FloatingPointError(f"{method.name} diverged at learning rate {learning_rate:g}: no dev loss was finite")
    return trained


def train_all(
    model: LanguageModel,
    plans: Sequence[Plan],
    *,
    adapter: AdapterKind = LoRA(),  # noqa: B008 - a frozen value
    training: Training = Training(),  # noqa: B008 - a frozen value
    done: StagesDone | None = None,
    memory: float | None = None,
    progress: Progress = SILENT,
) -> list[Trained]:
    """Train adapters together, each as if it were alone: of any sets, methods and learning rates.

    Args:
        model: the frozen model.
        plans: what is to be trained. A stage with which several begin is trained once.
        adapter: the adapters' kind and size.
        training: how long and in which batches.
        done: what was trained before. A stage found here is not trained again, and what is trained is added.
        memory: bytes that training may take beyond the model; by default what is free, less a tenth. Where all adapters
            together would take more, several banks are trained one after another, which is said.
        progress: told which steps are done.

    Returns:
        An adapter for each plan, in their order. One that diverged says so, and no later stage of it was trained.
    """
    done = {} if done is None else done
    configuration = adapter.configuration(model.network)
    form = form_of(configuration)
    assert form is not None, "every kind of adapter has a form"

    @cache
    def fresh(seed: int) -> Trained:
        return Trained(fresh_adapter(model.network, configuration, seed), None, ())

    for count in range(1, max((len(plan.method.stages) for plan in plans), default=0) + 1):
        due: dict[StagesKey, _Job] = {}
        for plan in plans:
            key = plan.until(count)
            if count > len(plan.method.stages) or key in done or key in due:
                continue
            few, stage = plan.few_shot_set, plan.method.stages[count - 1]
            before = done.get(plan.until(count - 1))
            if before is not None and before.diverged:
                done[key] = replace(before, learning_rate=key[2])
                continue
            start = before or fresh(few.seed)
            rows = StageRows.of(stage, few, plan.targets, model)
            if stage.solved:
                done[key] = _solved(model, rows, start)
                continue
            own = replace(training, epochs=stage.epochs or training.epochs)
            rate = stage.learning_rate or plan.learning_rate
            start = replace(start, learning_rate=key[2])
            due[key] = _Job(rows, start, Course(len(rows.train.sequences), few.seed, own), rate)
        if due:
            one = next(iter(due.values()))
            name = f"stage {count} at {one.rate:g}" if len(due) == 1 else f"stage {count} of {len(due)} adapters"
            size = _bank_size(model, list(due.values()), form, memory, progress)
            for first in range(0, len(due), size):
                keys = list(due)[first : first + size]
                jobs = [due[key] for key in keys]
                done |= dict(zip(keys, _train_bank(model, jobs, form, training, name, progress), strict=True))
    return [done[plan.until(len(plan.method.stages))] for plan in plans]


def _bank_size(
    model: LanguageModel, jobs: Sequence["_Job"], form: Form, memory: float | None, progress: Progress
) -> int:
    """How many of these adapters can be trained together in the memory there is; one at the least."""
    if len(jobs) == 1:
        return 1
    budget = memory if memory is not None else 0.9 * free_bytes(model.network.device)
    largest: dict[Stage, Part] = {}
    for job in jobs:
        part = Part(job.rows.stage, job.rows.train, job.rows.train.longest(job.course.training.batch_size))
        if part.stage not in largest or part.tokens > largest[part.stage].tokens:
            largest[part.stage] = part
    bank = Bank(model.network, [jobs[0].start.adapter.weights], form)
    bank.values.requires_grad_(True)
    most = max(step_bytes(model.network, bank, part) for part in largest.values())
    size = max(1, min(len(jobs), int(budget // most)))
    if size < len(jobs):
        progress.say(
            f"{len(jobs)} adapters would take about {len(jobs) * most / 2**30:.1f} GiB together, and "
            f"{budget / 2**30:.1f} GiB may be used: {size} are trained at a time."
        )
    return size


@dataclass
class _Job:
    """One adapter on its way through a stage."""

    rows: StageRows
    start: Trained
    course: Course
    rate: float
    best: Tensor | None = None
    """Its values when the dev loss was lowest."""

    @property
    def noise(self) -> int:
        """What the next step's dropout follows from: of a set, the same for all methods and learning rates."""
        return derived_seed(self.course.seed, f"dropout of stage {len(self.start.stages)}, step {self.course.step}")


def _train_bank(
    model: LanguageModel, jobs: Sequence[_Job], form: Form, training: Training, name: str, progress: Progress
) -> list[Trained]:
    """Train a stage of every job, each until its own course is over; who is over leaves the bank."""
    network = model.network
    bank = Bank(network, [job.start.adapter.weights for job in jobs], form)
    bank.values.requires_grad_(True)
    optimiser = Adam(bank.values.detach(), [job.rate for job in jobs])
    kept: dict[int, Trained] = {}
    going = dict(enumerate(jobs))
    with progress.phase(f"train {name}", sum(job.course.most_steps for job in jobs)) as advance:
        while going:
            active = list(going.values())
            with _shared_time(active):
                _check(network, bank, active, training)
            stays = [place for place, job in enumerate(active) if not job.course.over]
            if len(stays) < len(active):
                for place, (number, job) in enumerate(list(going.items())):
                    if job.course.over:
                        kept[number] = _kept(job, bank, place, training)
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
def _shared_time(jobs: Sequence[_Job]) -> Iterator[None]:
    """Each of these adapters has its share of the seconds that the block takes."""
    begun = time.perf_counter()
    yield
    for job in jobs:
        job.course.seconds += (time.perf_counter() - begun) / len(jobs)


def _check(network: PreTrainedModel, bank: Bank, jobs: Sequence[_Job], training: Training) -> None:
    """Measure the dev losses that are due, and keep what was never better."""
    due = [
        Part(job.rows.stage, job.rows.dev, range(len(job.rows.dev.sequences)), place)
        for place, job in enumerate(jobs)
        if job.course.awaits_dev_loss
    ]
    for part, loss in zip(due, mean_losses(network, due, bank, training.rows_per_pass), strict=True):
        if jobs[part.adapter].course.note_dev_loss(loss):
            jobs[part.adapter].best = bank.values[part.adapter].detach().clone()


def _step(network: PreTrainedModel, bank: Bank, jobs: Sequence[_Job], optimiser: Adam, training: Training) -> None:
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


def _solved(model: LanguageModel, rows: StageRows, start: Trained) -> Trained:
    """A stage that takes no steps."""
    begun = time.perf_counter()
    adapter = solved(model, rows, start.adapter)
    loss = dev_loss(model, rows.stage, rows.dev, adapter)
    seconds = time.perf_counter() - begun
    history = StageHistory(rows.stage.objective.name, 0, 0, "solved", (), ((0, loss),), seconds)
    return Trained(adapter, start.learning_rate, (*start.stages, history))


def dev_loss(model: LanguageModel, stage: Stage, rows: StudentRows, adapter: Adapter) -> float:
    """The mean loss of a stage over some rows with an adapter."""
    bank = bank_of(model.network, [adapter])
    assert bank is not None, "every kind of adapter has a form"
    (loss,) = mean_losses(model.network, [Part(stage, rows, range(len(rows.sequences)))], bank)
    return loss


def _kept(job: _Job, bank: Bank, place: int, training: Training) -> Trained:
    history = job.course.history(job.rows.stage.objective.name)
    if job.best is None:  # diverged
        return Trained(job.start.adapter, job.start.learning_rate, (*job.start.stages, history))
    weights = bank.weights(place) if training.keep == "last" else bank.named(job.best)
    adapter = Adapter(job.start.adapter.configuration, weights)
    return Trained(adapter, job.start.learning_rate, (*job.start.stages, history))
