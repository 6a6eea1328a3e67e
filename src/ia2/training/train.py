"""Training adapters: stage after stage of each method, and each stage of all adapters together."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ia2.adapters.adapter import Adapter, bank_of, fresh_adapter
from ia2.adapters.kinds import AdapterKind, LoRA, form_of
from ia2.models.load import LanguageModel, ModelIdentity
from ia2.progress import SILENT, Progress
from ia2.prompting.fewshot import FewShotSet
from ia2.training.closed_form import solved
from ia2.training.early_stopping import Course, StageHistory, Training
from ia2.training.loop import Job, bank_size, descend
from ia2.training.methods import FINE_TUNE, Method, Stage, checked_learning_rate
from ia2.training.student import Part, StageRows, StudentRows, mean_losses
from ia2.training.teacher import Targets


@dataclass(frozen=True)
class Trained:
    """An adapter and how it came about."""

    adapter: Adapter
    learning_rate: float | None
    """None where no stage was trained at the rate of the plan."""
    stages: tuple[StageHistory, ...]

    @property
    def dev_loss(self) -> float:
        """Its dev loss in the last stage, by which learning rates are compared; infinite where training diverged."""
        return self.stages[-1].dev_loss

    @property
    def diverged(self) -> bool:
        """Whether what a stage would keep has no finite dev loss; the adapter is as it was before that stage."""
        return any(stage.stopped_by == "diverged" for stage in self.stages)

    def then(self, adapter: Adapter, stage: StageHistory, learning_rate: float | None) -> "Trained":
        """The outcome of one more stage."""
        return Trained(adapter, learning_rate, (*self.stages, stage))

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


@dataclass(frozen=True)
class StagesKey:
    """All that an adapter depends on after some stages of a plan."""

    model: ModelIdentity
    adapter: AdapterKind
    training: Training
    few_shot_set: FewShotSet
    stages: tuple[Stage, ...]
    learning_rate: float | None
    """None where each of these stages has its own, or needs none."""
    targets: Path | None
    """Their folder, which is named by what they are; None where none of these stages reads them."""

    @classmethod
    def of(cls, plan: Plan, count: int, model: ModelIdentity, adapter: AdapterKind, training: Training) -> "StagesKey":
        """The key of a plan's first stages, so many of them."""
        stages = plan.method.stages[:count]
        own = all(stage.solved or stage.learning_rate is not None for stage in stages)
        read = plan.targets if any(stage.needs_targets for stage in stages) else None
        return cls(
            model,
            adapter,
            training,
            plan.few_shot_set,
            stages,
            None if own else plan.learning_rate,
            read.folder if read is not None else None,
        )


StagesDone = dict[StagesKey, Trained]
"""What was trained before."""


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
        FloatingPointError: what a stage would keep has no finite dev loss: training diverged.
    """
    plan = Plan(few_shot_set, method, learning_rate, targets)
    trained = train_all(model, [plan], adapter=adapter, training=training, done=done, progress=progress)[0]
    if trained.diverged:
        raise FloatingPointError(
            f"{method.name} diverged at learning rate {learning_rate:g}: its dev loss isn't finite"
        )
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
        done: what was trained before. A stage that is found here, trained alike, is not trained again, and what is
            trained is added.
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

    def after(plan: Plan, count: int) -> StagesKey:
        return StagesKey.of(plan, count, model.identity, adapter, training)

    for count in range(1, max((len(plan.method.stages) for plan in plans), default=0) + 1):
        due: dict[StagesKey, tuple[Trained, Job]] = {}
        for plan in plans:
            key = after(plan, count)
            if count > len(plan.method.stages) or key in done or key in due:
                continue
            few, stage = plan.few_shot_set, plan.method.stages[count - 1]
            before = done.get(after(plan, count - 1))
            if before is not None and before.diverged:
                done[key] = replace(before, learning_rate=key.learning_rate)
                continue
            start = before or fresh(few.seed)
            rows = StageRows.of(stage, few, plan.targets, model.beside(form.virtual_tokens))
            if stage.solved:
                done[key] = start.then(*_solved(model, rows, start.adapter), key.learning_rate)
                continue
            own = training if stage.epochs is None else replace(training, epochs=stage.epochs)
            course = Course(len(rows.train.sequences), few.seed, own)
            rate = plan.learning_rate if stage.learning_rate is None else stage.learning_rate
            due[key] = start, Job(rows, start.adapter, course, rate, len(start.stages))
        if due:
            jobs = [job for _, job in due.values()]
            name = f"stage {count} at {jobs[0].rate:g}" if len(jobs) == 1 else f"stage {count} of {len(jobs)} adapters"
            size = bank_size(model.network, jobs, form, memory, progress)
            for first in range(0, len(jobs), size):
                found = descend(model.network, jobs[first : first + size], form, training, name, progress)
                for (key, (start, _)), one in zip(list(due.items())[first : first + size], found, strict=True):
                    done[key] = start.then(*one, key.learning_rate)
    return [done[after(plan, len(plan.method.stages))] for plan in plans]


def _solved(model: LanguageModel, rows: StageRows, start: Adapter) -> tuple[Adapter, StageHistory]:
    """A stage that takes no steps."""
    begun = time.perf_counter()
    adapter = solved(model, rows, start)
    loss = dev_loss(model, rows.stage, rows.dev, adapter)
    seconds = time.perf_counter() - begun
    return adapter, StageHistory(rows.stage.objective.name, 0, 0, 0, "solved", (), ((0, loss),), seconds)


def comparable_loss(model: LanguageModel, few_shot_set: FewShotSet, method: Method, trained: Trained) -> float:
    """What a method's adapters are compared by: the last stage's, or, where β weighs in it, the token loss."""
    if method.beta is None or trained.diverged:
        return trained.dev_loss
    return dev_loss(model, FINE_TUNE, StageRows.of(FINE_TUNE, few_shot_set, None, model).dev, trained.adapter)


def dev_loss(model: LanguageModel, stage: Stage, rows: StudentRows, adapter: Adapter) -> float:
    """The mean loss of a stage over some rows with an adapter."""
    bank = bank_of(model.network, [adapter])
    assert bank is not None, "every kind of adapter has a form"
    (loss,) = mean_losses(model.network, [Part(stage, rows, range(len(rows.sequences)))], bank)
    return loss
