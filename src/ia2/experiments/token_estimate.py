"""Estimate of the tokens that a study processes, from its tasks' rows, before any weights are loaded."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ia2.errors import InputError
from ia2.experiments.baseline_names import IN_CONTEXT
from ia2.experiments.plan import Unit, drawn, measured, planned, units
from ia2.experiments.plan_totals import unit_stages
from ia2.experiments.schema import Experiment
from ia2.models.load import tokenizer_at_hand
from ia2.prompting.literal_text import TextEncoder
from ia2.prompting.prompts import SEPARATOR
from ia2.tasks.task import ContextItem, Example, Task
from ia2.training.early_stopping import EarlyStopping
from ia2.training.methods import OTHER_BETAS, Stage

CHARACTERS = 4
"""Characters per token, as in English text, if no tokenizer is available locally."""

Length = Callable[[str], int]
"""Counts the tokens of a text."""


@dataclass(frozen=True)
class Tokens:
    """Tokens that pass through models; those of a training step count once, with or without a backward pass."""

    teacher: int = 0
    training: int = 0
    """Upper bound: no stage stops before its last epoch."""
    evaluation: int = 0
    """Includes similarity to in-context learning."""

    def __add__(self, other: "Tokens") -> "Tokens":
        return Tokens(self.teacher + other.teacher, self.training + other.training, self.evaluation + other.evaluation)


def estimated_tokens(
    experiment: Experiment, task_of: Callable[[str], Task], length_of: Callable[[str], Length], limit: int | None = None
) -> Tokens:
    """Estimate the tokens that a study processes.

    The model's answers aren't known; they are assumed to be as long as the rows' own responses.

    Args:
        experiment: the study.
        task_of: loads a task by name.
        length_of: returns the token counter of a model, by name.
        limit: maximum evaluation rows per task; a smaller maximum in the study takes precedence.

    Raises:
        InputError: a task can't be loaded or has too few rows, or a tokenizer is damaged.
    """
    rows = min((value for value in (experiment.rows, limit) if value is not None), default=None)
    estimates = (
        _UnitEstimate(experiment, unit, task_of, length_of(unit.model), rows).tokens() for unit in units(experiment)
    )
    return sum(estimates, Tokens())


class _UnitEstimate:
    def __init__(
        self, experiment: Experiment, unit: Unit, task_of: Callable[[str], Task], length: Length, rows: int | None
    ) -> None:
        self.experiment, self.unit, self.length = experiment, unit, length
        self.set, _ = drawn(experiment, unit, task_of(unit.train), rows)
        self.measured = [
            (task, self.set.evaluation if task.name == unit.train else task.evaluation[:rows])
            for task in map(task_of, unit.evaluate)
        ]
        self.forgetting = [(task, task.evaluation[:rows]) for task in map(task_of, experiment.forgetting)]
        self.adapters = planned(experiment, unit, OTHER_BETAS)

    def tokens(self) -> Tokens:
        needs_teacher = any(adapter.method.needs_targets for adapter in self.adapters)
        training = sum(self.stage(node.stage) for node in unit_stages(self.adapters))
        return Tokens(self.teacher() if needs_teacher else 0, training, self.evaluation())

    def context_tokens(self, demonstrations: Iterable[ContextItem]) -> int:
        """Return the tokens of the demonstrations or the instruction before a query."""
        return sum(
            self.length(demonstration.query) + self.length(demonstration.response) + self.length(SEPARATOR)
            if isinstance(demonstration, Example)
            else self.length(demonstration.text) + self.length(SEPARATOR)
            for demonstration in demonstrations
        )

    def row_tokens(self, row: Example, task: Task, max_tokens: int | None = None, *, endless: bool = False) -> int:
        """Return the tokens that pass through the model for a row; the last token of an answer is never fed back.

        Args:
            row: the row.
            task: the row's task; an answer of free text has an end token.
            max_tokens: maximum length of the answer in tokens.
            endless: whether answers of free text always reach that length.
        """
        if endless and task.response_kind == "text" and max_tokens is not None:
            return self.length(row.query) + max_tokens - 1
        answer = self.length(row.response) + (task.response_kind == "text")
        return self.length(row.query) + min(answer, max_tokens or answer) - 1

    def teacher(self) -> int:
        """Return the tokens of the teacher pass: every training, dev and unlabelled row with its own demonstrations."""
        task, rows = self.set.task, self.set.train + self.set.dev
        rows += tuple(Example(query, "") for query in self.set.unlabelled_queries())
        contexts = self.set.training_contexts() + self.set.dev_contexts() + self.set.unlabelled_contexts()
        max_tokens, endless = task.for_teacher.max_new_tokens, self.experiment.teacher_stop == "none"
        return sum(
            self.context_tokens(context) + self.row_tokens(row, task, max_tokens, endless=endless)
            for row, context in zip(rows, contexts, strict=True)
        )

    def stage(self, stage: Stage) -> int:
        """Return the tokens of a stage: the training rows in each epoch, the dev rows at each dev evaluation."""
        train_rows = self.set.train if stage.rows == "all" else ()
        if stage.labels == "icl-response":
            train_rows += tuple(Example(query, "") for query in self.set.unlabelled_queries())
        train, dev = (sum(self.row_tokens(row, self.set.task) for row in rows) for rows in (train_rows, self.set.dev))
        if stage.solved:
            return train + dev
        training = self.experiment.training
        # a stage with the step budget of others takes at most the sum of their maxima
        epochs = [other.epochs or training.max_epochs for other in stage.steps_of if not other.solved]
        training = training.for_epochs(sum(epochs) or stage.epochs or training.max_epochs)
        stopping = EarlyStopping(len(train_rows), self.set.seed_of_order, training)
        evaluations = 0
        for _ in range(stopping.max_steps):
            stopping.note_step()
            evaluations += stopping.dev_due
        return training.epochs * train + evaluations * dev

    def evaluation(self) -> int:
        """Return the tokens of evaluation; demonstrations are read once per task if shared, else once per query."""
        context = self.context_tokens(self.set.demonstrations())
        baselines = self.experiment.baselines
        # all in-context baselines share one evaluation
        in_context = any(name in IN_CONTEXT for name in baselines)
        compared = measured(self.experiment, self.adapters) + ("zero-shot" in baselines)
        bare = compared + ("logistic-hidden" in baselines)
        total = 0
        for task, rows in self.measured:
            queries = sum(self.row_tokens(row, task, task.max_new_tokens) for row in rows)
            before = context if self.experiment.demonstrations == "shared" else len(rows) * context
            if self.experiment.demonstrations == "resampled" and len(self.set.demonstrations()) == self.set.n:
                before = before * (self.set.n - 1) // self.set.n
            total += bare * queries + in_context * (before + queries)
        for task, others in self.forgetting:
            # without a held-out text, the log-likelihood of the queries is measured as well
            again = 1 if self.experiment.held_text is not None else 2
            queries = sum(self.row_tokens(row, task, task.max_new_tokens) for row in others)
            total += again * (measured(self.experiment, self.adapters) + 1) * queries
        if rows := self.set.evaluation[: self.experiment.asim_rows]:
            queries = sum(self.row_tokens(row, self.set.task) for row in rows)
            total += compared * queries + context + queries
        return total


def described_tokens(experiment: Experiment, data_dir: Path | None = None, limit: int | None = None) -> str:
    """Return the estimate as a sentence, or why there is none.

    Args:
        experiment: the study.
        data_dir: a folder of benchmark files instead of the hub.
        limit: maximum evaluation rows per task; a smaller maximum in the study takes precedence.
    """

    @cache
    def task_of(name: str) -> Task:
        return experiment.task(name, data_dir)

    tokenizer_of = cache(tokenizer_at_hand)

    @cache
    def length_of(model: str) -> Length:
        tokenizer = tokenizer_of(model)
        if tokenizer is None:
            return lambda text: math.ceil(len(text) / CHARACTERS)
        encoder = TextEncoder(tokenizer)
        return cache(lambda text: len(encoder.of_text(text)))

    try:
        estimate = estimated_tokens(experiment, task_of, length_of, limit)
    except InputError as error:
        return f"Tokens can't be estimated: {error}"
    exact = [model for model in experiment.all_models if tokenizer_of(model) is not None]
    others = [model for model in experiment.all_models if model not in exact]
    ways = [f"counted with the tokenizer of {', '.join(exact)}"] * bool(exact)
    ways += [
        f"estimated at {CHARACTERS} characters per token where the tokenizer is not on this machine "
        f"({', '.join(others)})"
    ] * bool(others)
    return (
        f"About {_rounded(estimate.teacher)} tokens for the teacher, at most {_rounded(estimate.training)} in training "
        f"and {_rounded(estimate.evaluation)} in evaluation, {', '.join(ways)}."
    )


def _rounded(value: int) -> str:
    """Return a number rounded to two significant digits, with thousands separators."""
    return f"{float(f'{value:.2g}'):,.0f}"
