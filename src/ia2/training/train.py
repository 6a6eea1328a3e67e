"""Training adapters: the stages of a method in sequence, and each stage for all adapters together."""

import math
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache

from ia2.adapters.adapter import Adapter, adapted, fresh_adapter
from ia2.adapters.kind import AdapterKind, Effect
from ia2.adapters.lora import LoRA
from ia2.adapters.registry import effect_of
from ia2.models.load import LanguageModel
from ia2.models.memory import free_bytes
from ia2.models.recomputation import recomputed_feed_forward
from ia2.progress import SILENT, Progress
from ia2.prompting.fewshot import FewShotSet
from ia2.training.checkpoints import Checkpoints
from ia2.training.closed_form import solved
from ia2.training.early_stopping import EarlyStopping, StageHistory, Training
from ia2.training.job import Job, Outcome
from ia2.training.loop import bank_size, train_stage
from ia2.training.methods import FINE_TUNE, Method, Stage
from ia2.training.passes import dev_passes, mean_losses
from ia2.training.plans import Done, Plan, Trained
from ia2.training.stage_tree import StageKey, StageNode, key_of, stage_key, stage_tree
from ia2.training.student import Part, StageRows, StudentRows, read_by
from ia2.training.targets import Targets


def train(
    model: LanguageModel,
    few_shot_set: FewShotSet,
    method: Method,
    *,
    learning_rate: float,
    targets: Targets | None = None,
    adapter: AdapterKind = LoRA(),  # noqa: B008 - a frozen value
    training: Training = Training(),  # noqa: B008 - a frozen value
    done: Done | None = None,
    progress: Progress = SILENT,
) -> Trained:
    """Train one adapter, as a bank of one. See `train_all`.

    Raises:
        FloatingPointError: training diverged, which means that a stage ended without a finite dev loss.

    Example:
        >>> few = FewShotSet.draw(task, 2)
        >>> trained = train(model, few, METHODS["sft"], learning_rate=1e-3, training=Training(epochs=2))
        >>> trained.diverged
        False
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
    done: Done | None = None,
    checkpoints: Checkpoints | None = None,
    memory: float | None = None,
    progress: Progress = SILENT,
) -> list[Trained]:
    """Train adapters of any sets, methods and learning rates together; each result equals that of training it alone.

    Args:
        model: the frozen model.
        plans: the adapters to train. Initial stages that several share are trained once.
        adapter: kind and size of the adapters.
        training: batch size, number of epochs and early stopping.
        done: stages that are already trained. They are not trained again, and newly trained stages are added.
        checkpoints: stores each bank on disk, trained or in training; what an earlier process stored is continued.
        memory: bytes that training may use beyond the model; by default 90 % of the free memory. If all adapters
            together need more, they are trained in several banks, one after another, with a message.
        progress: receives progress over steps.

    Returns:
            The trained adapter of each plan, in order. If `diverged` is set, its later stages were not trained.

    Example:
        >>> few = FewShotSet.draw(task, 2)
        >>> plans = [Plan(few, METHODS["sft"], rate) for rate in (1e-3, 1e-4)]
        >>> [trained.diverged for trained in train_all(model, plans, training=Training(epochs=2))]
        [False, False]
    """
    trainer = _Trainer(model, adapter, training, {} if done is None else done, checkpoints, memory, progress)
    for level in stage_tree(plans, trainer.group):
        trainer.train_level(level)
    return [trainer.done[stage_key(plan, len(plan.method.stages), trainer.group)] for plan in plans]


class _Trainer:
    """Trains the nodes of a stage tree, level by level."""

    def __init__(
        self,
        model: LanguageModel,
        adapter: AdapterKind,
        training: Training,
        done: Done,
        checkpoints: Checkpoints | None,
        memory: float | None,
        progress: Progress,
    ) -> None:
        self.model, self.adapter, self.training, self.done = model, adapter, training, done
        self.checkpoints, self.memory, self.progress = checkpoints, memory, progress
        self.target_bytes = 0
        """Bytes of the teacher's targets in memory."""
        self.configuration = adapter.configuration(model.network)
        effect = effect_of(self.configuration)
        assert effect is not None, "every kind of adapter has an effect"
        self.effect: Effect = effect
        self.fresh = cache(lambda seed: Trained(fresh_adapter(model.network, self.configuration, seed), None, ()))

    def budget(self) -> float:
        """Return the bytes that training may use beyond the model: as requested, or 90 % of the free memory."""
        if self.memory is not None:
            return self.memory - self.target_bytes
        return 0.9 * free_bytes(self.model.network.device)

    def group(self, plan: Plan, stages: tuple[Stage, ...]) -> Hashable:
        """Return what an adapter depends on besides its stages: model, kind, `Training`, set, and targets if used."""
        read = plan.targets if any(stage.needs_targets for stage in stages) else None
        folder = read.folder if read is not None else None
        return self.model.identity, self.adapter, self.training, plan.few_shot_set, folder

    def train_level(self, level: Sequence[StageNode[Plan]]) -> None:
        """Train all nodes of a level that aren't done: closed-form stages one by one, the others in banks."""
        missing = [node for node in level if node.key not in self.done]
        due: dict[StageKey, tuple[Trained, Job]] = {}
        with self.targets_in_memory(missing):
            for node in missing:
                start = self.start_of(node)
                if start.diverged:
                    self.done[node.key] = replace(start, learning_rate=node.key.learning_rate)
                elif node.stage.solved:
                    self.done[node.key] = start.then(*self.solved(node, start), node.key.learning_rate)
                else:
                    due[node.key] = start, self.job_of(node, start)
            outcomes = self.trained([job for _, job in due.values()])
            for (key, (start, _)), outcome in zip(due.items(), outcomes, strict=True):
                self.done[key] = start.then(*outcome, key.learning_rate)

    def start_of(self, node: StageNode[Plan]) -> Trained:
        """Return the adapter that a node's stage starts from."""
        return self.fresh(node.plans[0].few_shot_set.seed_of_start) if node.parent is None else self.done[node.parent]

    def rows_of(self, node: StageNode[Plan]) -> StageRows:
        """Return the training and dev rows of a node's stage."""
        plan = node.plans[0]
        model = self.model.beside(self.effect.virtual_tokens)
        return StageRows.of(node.stage, plan.few_shot_set, plan.targets, model)

    def job_of(self, node: StageNode[Plan], start: Trained) -> Job:
        """Return a node as a job for the training loop."""
        stage, plan, rows = node.stage, node.plans[0], self.rows_of(node)
        training = self.training if stage.epochs is None else self.training.for_epochs(stage.epochs)
        seed = plan.few_shot_set.seed_of_order
        stopping = EarlyStopping(len(rows.train.sequences), seed, training, self.steps_of(node))
        rate = plan.learning_rate if stage.learning_rate is None else stage.learning_rate
        return Job(rows, start.adapter, stopping, rate, len(start.stages))

    def steps_of(self, node: StageNode[Plan]) -> int | None:
        """Return the total steps of the stages in a node's `steps_of`; None if the node uses early stopping."""
        if not (counted := node.stage.steps_of):
            return None
        earlier = self.done[key_of(node.plans[0], counted, self.group)]
        return sum(stage.steps for stage in earlier.stages)

    def trained(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Train a level's jobs in banks that fit in memory."""
        if not jobs:
            return []
        size, recomputed = bank_size(self.model.network, jobs, self.effect, self.budget(), self.progress)
        count = f"at {jobs[0].learning_rate:g}" if len(jobs) == 1 else f"of {len(jobs)} adapters"
        name = f"stage {jobs[0].stages_before + 1} {count}"
        banks = [jobs[start : start + size] for start in range(0, len(jobs), size)]
        with recomputed_feed_forward(self.model.network) if recomputed else nullcontext():
            return [outcome for bank in banks for outcome in self.trained_together(bank, name)]

    def trained_together(self, bank: Sequence[Job], name: str) -> Sequence[Outcome]:
        """Train one bank, or load the checkpoint of an earlier process."""
        network, effect, training, progress = self.model.network, self.effect, self.training, self.progress
        if self.checkpoints is None:
            return train_stage(network, bank, effect, training, name, progress)
        if (outcomes := self.checkpoints.load(bank)) is not None:
            progress.say(f"{name}: trained by an earlier, interrupted run and read from its checkpoint.")
            return outcomes
        outcomes = train_stage(network, bank, effect, training, name, progress, self.checkpoints.unfinished(bank))
        self.checkpoints.save(bank, outcomes)
        return outcomes

    def solved(self, node: StageNode[Plan], start: Trained) -> Outcome:
        """Solve a stage in closed form."""
        begun, rows = time.perf_counter(), self.rows_of(node)
        adapter = solved(self.model, rows, start.adapter)
        loss = dev_loss(self.model, rows.stage, rows.dev, adapter)
        seconds, name = time.perf_counter() - begun, rows.stage.objective.name
        if not math.isfinite(loss):
            return start.adapter, StageHistory(name, 0, 0, 0, "diverged", (), ((0, loss),), seconds)
        return adapter, StageHistory(name, 0, 0, 0, "solved", (), ((0, loss),), seconds)

    @contextmanager
    def targets_in_memory(self, nodes: Sequence[StageNode[Plan]]) -> Iterator[None]:
        """Keep the targets of the nodes' stages on the device, if they take at most half of the memory budget."""
        needed = {
            (rows, site): None
            for node in nodes
            if (targets := read_by(node.stage, node.plans[0].targets)) is not None and not node.stage.solved
            for site in node.stage.objective.teacher_sites
            for rows in (targets.unlabelled if node.stage.rows == "unlabelled" else targets.taught, targets.dev)
        }
        room = 0.5 * self.budget()
        size = sum(rows.bytes_of(site) for rows, site in needed)
        if size > room:
            self.progress.say(
                f"The teacher's targets need {size / 2**30:.1f} GiB, but {room / 2**30:.1f} GiB may be used for them, "
                "so they are read from disk at each step."
            )
            needed = {}
        try:
            for rows, site in needed:
                rows.load(site, self.model.network.device)
            self.target_bytes = size if needed else 0
            yield
        finally:
            self.target_bytes = 0
            for rows, _ in needed:
                rows.let_go()


def selection_loss(model: LanguageModel, few_shot_set: FewShotSet, method: Method, trained: Trained) -> float:
    """Return the loss for model selection: the last stage's dev loss, or the dev token loss if that depends on β."""
    if method.beta is None or trained.diverged:
        return trained.dev_loss
    effect = effect_of(trained.adapter.configuration)
    assert effect is not None, "every kind of adapter has an effect"
    rows = StageRows.of(FINE_TUNE, few_shot_set, None, model.beside(effect.virtual_tokens))
    return dev_loss(model, FINE_TUNE, rows.dev, trained.adapter)


def dev_loss(model: LanguageModel, stage: Stage, rows: StudentRows, adapter: Adapter) -> float:
    """Return the mean loss of a stage's objective over rows, with an adapter."""
    with adapted(model, [adapter]) as reader:
        passes = dev_passes(reader, [Part(stage, rows, range(len(rows.sequences)))])
        return mean_losses(reader, passes, 1).item()
