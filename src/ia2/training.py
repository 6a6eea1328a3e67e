"""Training adapters: each step one forward pass that computes only what the stage's objective reads."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from ia2.adapters import Adapter, LoRA, attached, fresh_adapter, weights_of
from ia2.course import Course, StageHistory, Training
from ia2.errors import InputError
from ia2.fewshot import FewShotSet, PromptTokenizer
from ia2.methods import Method, Stage
from ia2.models.attention import record_attention
from ia2.models.batch import TokenSequence, forward, lay_out, response_logits
from ia2.models.load import LanguageModel
from ia2.objectives import StudentOutputs, Wanted
from ia2.progress import SILENT, Progress
from ia2.tasks.task import Example, Task
from ia2.teacher import TargetFiles, Targets

LEARNING_RATES = (1e-4, 3e-4, 1e-3)
"""What the paper tries for LoRA."""


@dataclass(frozen=True)
class Trained:
    """An adapter and how it came about."""

    adapter: Adapter
    learning_rate: float
    stages: tuple[StageHistory, ...]

    @property
    def dev_loss(self) -> float:
        """The last stage's lowest dev loss, by which learning rates are compared."""
        return self.stages[-1].best_dev_loss

    def save(self, folder: Path | str) -> None:
        """Write the adapter in PEFT's format."""
        self.adapter.save(folder)


StagesDone = dict[tuple[tuple[Stage, ...], float], Trained]
"""What was trained for one set, by the stages behind it and the learning rate."""


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
    adapter: LoRA = LoRA(),  # noqa: B008 - a frozen value
    training: Training = Training(),  # noqa: B008 - a frozen value
    done: StagesDone | None = None,
    progress: Progress = SILENT,
) -> Trained:
    """Train an adapter on a few-shot set with one method at one learning rate.

    Args:
        model: the frozen model.
        few_shot_set: the rows.
        method: its stages are trained one after another, each from the adapter that the one before kept.
        learning_rate: Adam's, in every stage.
        targets: the teacher's, where the method needs them.
        adapter: the adapter's kind and size.
        training: how long and in which batches.
        done: what was trained for this set before. A stage found here is not trained again, and what is trained is
            added, so that methods that begin alike share their beginning.
        progress: told which steps are done.

    Raises:
        InputError: the learning rate is no positive number.
        ValueError: the method needs targets, and none were given.
        FloatingPointError: no dev loss was a finite number: training diverged.
    """
    checked_learning_rate(learning_rate)
    if method.needs_targets and targets is None:
        raise ValueError(f"{method.name} learns from the teacher: pass targets=collect_targets(model, few_shot_set)")
    done = {} if done is None else done
    fresh = fresh_adapter(model.network, adapter.configuration(model.network), few_shot_set.seed)
    trained = Trained(fresh, learning_rate, ())
    for count, stage in enumerate(method.stages, start=1):
        key = (method.stages[:count], learning_rate)
        if key not in done:
            rows = StageRows.of(stage, few_shot_set, targets, model)
            name = f"{method.name} stage {count} at {learning_rate:g}"
            done[key] = _train_stage(model.network, rows, trained, training, few_shot_set.seed, name, progress)
        trained = done[key]
    return trained


@dataclass(frozen=True)
class StudentRows:
    """Rows as the student meets them, without demonstrations, beside what the teacher did with them."""

    sequences: Sequence[TokenSequence]
    targets: TargetFiles | None

    @classmethod
    def of(
        cls, rows: Sequence[Example], targets: TargetFiles | None, stage: Stage, model: LanguageModel, task: Task
    ) -> "StudentRows":
        """Tokenise rows with the responses that the stage trains on."""
        tokenizer = PromptTokenizer.of(model, task)
        if stage.labels == "ground-truth":
            return cls([tokenizer.sequence(row.query, row.response) for row in rows], targets)
        assert targets is not None, "train has checked that there are targets"
        return cls(
            [
                tokenizer.checked(TokenSequence(tokenizer.prompt(row.query), tokens), row.query)
                for row, tokens in zip(rows, targets.responses(), strict=True)
            ],
            targets,
        )


@dataclass(frozen=True)
class StageRows:
    """What one stage trains and is checked on."""

    stage: Stage
    train: StudentRows
    dev: StudentRows

    @classmethod
    def of(cls, stage: Stage, few_shot_set: FewShotSet, targets: Targets | None, model: LanguageModel) -> "StageRows":
        """The rows of a set for a stage."""
        return cls(
            stage,
            StudentRows.of(few_shot_set.train, targets.train if targets else None, stage, model, few_shot_set.task),
            StudentRows.of(few_shot_set.dev, targets.dev if targets else None, stage, model, few_shot_set.task),
        )


def losses(
    network: PreTrainedModel, rows: StudentRows, indices: Sequence[int], stage: Stage
) -> Float[Tensor, " examples"]:
    """The stage's loss of each of these rows, from one forward pass.

    No language-model head is run where the objective reads attention alone, and no hook is set where it reads logits.
    """
    batch = lay_out([rows.sequences[index] for index in indices], device=network.device)
    aligned = "attention" in stage.objective.reads
    wanted = logits = None
    if aligned:
        assert rows.targets is not None, "train has checked that there are targets"
        wanted = torch.cat([rows.targets[index].attention for index in indices], dim=1).to(network.device)
    with record_attention(network, batch.at) if aligned else nullcontext() as recorded:
        if "logits" in stage.objective.reads:
            logits = response_logits(network, batch)
        else:
            forward(network, batch)
    attention = recorded.stacked() if recorded is not None else None
    outputs = StudentOutputs(attention, logits)
    return stage.objective.loss(outputs, Wanted(batch.response, wanted, batch.example, batch.sequences))


def accumulate_gradients(
    network: PreTrainedModel, rows: StudentRows, indices: Sequence[int], stage: Stage, rows_per_pass: int | None = None
) -> float:
    """Add the gradient of these rows' mean loss to the trainable parameters, and return that loss.

    However many forward passes it takes, the gradient is that of all rows in one: each row counts once.
    """
    size = rows_per_pass or len(indices)
    total = 0.0
    for start in range(0, len(indices), size):
        loss = losses(network, rows, indices[start : start + size], stage).sum() / len(indices)
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


@torch.no_grad()
def mean_loss(network: PreTrainedModel, rows: StudentRows, stage: Stage, rows_per_pass: int | None = None) -> float:
    """The stage's mean loss over all rows, without gradients."""
    count = len(rows.sequences)
    size = rows_per_pass or count
    parts = (losses(network, rows, range(start, min(start + size, count)), stage) for start in range(0, count, size))
    return sum(part.sum().item() for part in parts) / count


def _train_stage(
    network: PreTrainedModel,
    rows: StageRows,
    start: Trained,
    training: Training,
    seed: int,
    name: str,
    progress: Progress,
) -> Trained:
    course = Course(len(rows.train.sequences), seed, training)
    best = start.adapter
    with (
        attached(network, start.adapter, trainable=True) as student,
        progress.phase(f"train {name}", course.most_steps) as advance,
    ):
        assert student is not None
        trainable = [parameter for parameter in student.parameters() if parameter.requires_grad]
        optimiser = torch.optim.Adam(trainable, lr=start.learning_rate)
        while not course.over:
            optimiser.zero_grad()
            indices = course.next_batch()
            loss = accumulate_gradients(network, rows.train, indices, rows.stage, training.rows_per_pass)
            optimiser.step()
            course.note_step(loss)
            advance(1)
            if course.dev_due and course.note_dev_loss(
                mean_loss(network, rows.dev, rows.stage, training.rows_per_pass)
            ):
                best = weights_of(student)
        kept = best if training.keep == "best" else weights_of(student)
    return Trained(kept, start.learning_rate, (*start.stages, course.history(rows.stage.objective.name)))
