"""A unit's rows in the form its model is prompted with: the few-shot set and every evaluated task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ia2.errors import FieldError
from ia2.evaluation.likelihood import windows_of
from ia2.experiments.baseline_names import check_labelled
from ia2.experiments.plan import Unit, drawn
from ia2.experiments.rows import text_of
from ia2.experiments.schema import Experiment
from ia2.inference.decoding import checked_prompts
from ia2.inference.label_scoring import LabelScoringChoice, LabelTokens, label_prompts
from ia2.inference.task_form import fitted
from ia2.models.load import LanguageModel
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Example, Task


@dataclass(frozen=True)
class UnitRows:
    """Training and evaluation rows of a unit."""

    few_shot_set: FewShotSet
    measured: tuple[Task, ...]
    """Tasks to evaluate, each with at most as many evaluation rows as the study allows."""
    compared: tuple[Example, ...]
    """Evaluation rows of the set on which similarity to in-context learning is measured."""
    forgetting: tuple[Task, ...] = ()
    """Unrelated tasks, evaluated to measure what adapters forget."""
    held_texts: tuple[str, ...] = ()
    """Held-out texts whose log-likelihood is measured with and without adapters."""

    def of(self, task: Task) -> tuple[Example, ...]:
        """Return a task's evaluation rows; for the training task those of the set, which may be left-over pool rows."""
        is_trained_on = task.name == self.few_shot_set.task.name
        return self.few_shot_set.evaluation if is_trained_on else task.evaluation

    @property
    def notes(self) -> tuple[str, ...]:
        """Choices made for the user while the rows were read, one sentence each."""
        return self.few_shot_set.task.notes


def unit_rows(
    experiment: Experiment, unit: Unit, model: LanguageModel, *, data_dir: Path | None = None, limit: int | None = None
) -> UnitRows:
    """Load a unit's rows in the form its model is prompted with.

    Args:
        experiment: the study.
        unit: one of its units.
        model: the unit's model.
        data_dir: a folder of benchmark files instead of the hub.
        limit: maximum evaluation rows per task; a smaller maximum in the study takes precedence.

    Raises:
        InputError: a task or a file can't be loaded or has too few rows, or the model can't read a prompt.
    """

    def fitted_task(name: str) -> Task:
        return fitted(
            experiment.task(name, data_dir),
            model,
            chat=experiment.chat,
            stop=experiment.rows_of(name).stop,
            label_scoring=experiment.label_scoring,
            context=experiment.context is not None,
        )

    max_rows = min((value for value in (experiment.rows, limit) if value is not None), default=None)
    task = fitted_task(unit.train)
    few_shot_set, notes = drawn(experiment, unit, task, max_rows)
    few_shot_set = replace(few_shot_set, task=replace(task, notes=(*task.notes, *notes)))

    def other_task(name: str) -> Task:
        return _without_training_rows(fitted_task(name), few_shot_set).limited(max_rows)

    rows = UnitRows(
        few_shot_set,
        tuple(
            few_shot_set.task.limited(max_rows) if name == unit.train else other_task(name) for name in unit.evaluate
        ),
        few_shot_set.task.at_most(few_shot_set.evaluation, experiment.asim_rows),
        tuple(map(other_task, experiment.forgetting)),
    )
    rows = replace(rows, held_texts=_held_texts(experiment, rows.forgetting))
    if rows.held_texts and not windows_of(model, rows.held_texts):
        raise FieldError(
            "held_text", experiment.held_text, "this text has a single token, so none is predicted. Use a longer one."
        )
    virtual_tokens = max((kind.virtual_tokens for kind in unit.adapters), default=0)
    check_labelled(experiment.baselines, rows.measured)
    _check_labels(rows, model, experiment.label_scoring)
    _check_prompts(rows, model, virtual_tokens if experiment.trained_methods else 0, experiment.label_scoring)
    return rows


def _without_training_rows(task: Task, few_shot_set: FewShotSet) -> Task:
    """Return another task without the set's training, dev and unlabelled rows: a user's file may repeat a benchmark."""
    training_queries = {row.query for row in few_shot_set.train + few_shot_set.dev}.union(few_shot_set.unlabelled)
    unseen = tuple(row for row in task.evaluation if row.query not in training_queries)
    if (left_out := len(task.evaluation) - len(unseen)) == 0:
        return task
    note = f"{task.name}: {left_out} rows are left out, as they are in the adapters' training or dev sets."
    return replace(task, evaluation=unseen, notes=(*task.notes, note))


def _held_texts(experiment: Experiment, forgetting: Sequence[Task]) -> tuple[str, ...]:
    """Return the held-out text, by default the queries of the forgetting tasks. Raises FieldError."""
    if experiment.held_text is not None:
        return (text_of("held_text", experiment.held_text),)
    return tuple(str(row.query) for task in forgetting for row in task.evaluation)


def _check_labels(rows: UnitRows, model: LanguageModel, choice: LabelScoringChoice) -> None:
    """Refuse labels that can't be scored, before anything is computed. Raises InputError."""
    for task in (rows.few_shot_set.task, *rows.measured, *rows.forgetting):
        if task.labels:
            LabelTokens.of(task, PromptTokenizer.of(model, task), choice)


def _check_prompts(rows: UnitRows, model: LanguageModel, virtual_tokens: int, choice: LabelScoringChoice) -> None:
    """Refuse prompts that are too long, before anything is computed. Raises InputError."""
    with_virtual_tokens = model.beside(virtual_tokens)
    few_shot_set = rows.few_shot_set
    _check_lengths(with_virtual_tokens, few_shot_set.train + few_shot_set.dev, few_shot_set.task)
    for task in (*rows.measured, *rows.forgetting):
        tokenizer, examples = PromptTokenizer.of(with_virtual_tokens, task), rows.of(task)
        if task.response_kind == "text":
            checked_prompts(tokenizer, examples, [()] * len(examples), task)
        elif examples:
            label_prompts(tokenizer, LabelTokens.of(task, tokenizer, choice), examples, [()] * len(examples))
    in_context = PromptTokenizer.of(model, few_shot_set.task)
    for row in rows.compared:
        in_context.sequence(row.query, row.response, few_shot_set.demonstrations())


def _check_lengths(model: LanguageModel, examples: Sequence[Example], task: Task) -> None:
    tokenizer = PromptTokenizer.of(model, task)
    for row in examples:
        tokenizer.sequence(row.query, row.response)
