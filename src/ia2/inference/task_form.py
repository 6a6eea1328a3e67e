"""Fitting a task to a model: how labels follow a query, and whether prompts use the chat template."""

from collections import Counter
from dataclasses import replace

from ia2.adapters.provenance import Provenance
from ia2.errors import InputError
from ia2.inference.decoding import stop_token
from ia2.inference.label_scoring import AnyLabelScoring, LabelTokens, label_scoring_of
from ia2.models.load import LanguageModel
from ia2.prompting.chat_templates import TODAY, tells_the_day
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Task, turns_of

MAX_LISTED_LABELS = 12


def fitted(
    task: Task,
    model: LanguageModel,
    *,
    chat: bool = False,
    stop: str | None = None,
    label_scoring: AnyLabelScoring = "auto",
    taught: Provenance | None = None,
    context: bool = False,
) -> Task:
    """Return a task in the form in which it is put to a model, with notes on the choices made.

    Labels from a user's file follow the colon after one space, unless first tokens are scored and only the form
    without a space makes every label a single token. A task for an adapter takes the form that the adapter was trained
    with.

    Args:
        task: the task, built in or from a file.
        model: the model.
        chat: whether queries and responses are turns of the model's chat template.
        stop: a string that ends free-text responses, if the user gave one.
        label_scoring: how labels are scored.
        taught: the provenance of the adapter to evaluate, if any.
        context: whether the user's instruction or document precedes the queries.

    Raises:
        InputError: the model can't answer in this form or can't generate the stop string, or the adapter was trained
            on other labels or in another form.
    """
    stop_token(model.tokenizer, stop)  # raises if the model can't generate it
    from_file = task.as_written
    if task.chat:
        _check_conversations(task, model, taught)
    chat = chat or task.chat
    if taught is not None:
        taught.check_turns(chat)
        if from_file:
            task = taught.in_form(task)
    if chat:
        turns = _chat_note(task, model, context)
        # in a conversation a blank line doesn't end a turn, but a stop string given by the user does
        added = (*_scoring_notes(task, label_scoring), *_prefix_notes(task.as_chat(), model, label_scoring, taught))
        return replace(task.as_chat(), stop=stop, notes=(*task.notes, *added, turns))
    if not from_file or task.response_kind == "text":
        return task
    task = replace(task, notes=(*task.notes, _labels_note(task), *_scoring_notes(task, label_scoring)))
    if taught is not None:
        return task
    task = replace(task, notes=(*task.notes, *_prefix_notes(task, model, label_scoring, taught)))
    tokenizer = PromptTokenizer.of(model, task)
    spaceless = task.with_spaceless_labels()
    if (
        label_scoring_of(task, label_scoring) == "token"
        and not LabelTokens.of(task, tokenizer, "whole").single
        and LabelTokens.of(spaceless, tokenizer, "whole").single
    ):
        form = "Labels follow the colon without a space, because only then is each a single token of this model."
        return replace(spaceless, notes=(*task.notes, form))
    return replace(task, notes=(*task.notes, "Labels follow the colon with one space."))


def _scoring_notes(task: Task, choice: AnyLabelScoring) -> tuple[str, ...]:
    """Return a note on label scoring if the automatic choice differs from the paper's."""
    if choice != "auto" or not task.labels or label_scoring_of(task, choice) == "token":
        return ()
    return ("Whole labels are scored against each other; accuracy and calibration are over the labels alone.",)


def _prefix_notes(
    task: Task, model: LanguageModel, choice: AnyLabelScoring, taught: Provenance | None
) -> tuple[str, ...]:
    """Return a note that one label is a prefix of another, if that affects the scoring."""
    if label_scoring_of(task, choice) != "whole" or not task.labels or taught is not None:
        return ()
    pairs = LabelTokens.alone(task, PromptTokenizer.of(model, task)).beginnings
    if not pairs:
        return ()
    short, long = (label.strip() for label in pairs[0])
    return (
        f"The label {short!r} is a prefix of {long!r}, so each label is scored with what ends it: the end token for "
        "fine-tuned adapters, otherwise what follows a label in a prompt.",
    )


def _check_conversations(task: Task, model: LanguageModel, taught: Provenance | None) -> None:
    """Raise an InputError if the model has no chat template or the adapter was trained without one."""
    if not getattr(model.tokenizer, "chat_template", None):
        raise InputError(
            f"{task.name}: these rows are conversations, but this model has no chat template. Use an instruction-tuned "
            "model."
        )
    if taught is not None and not taught.chat:
        raise InputError(
            f"{task.name}: these rows are conversations, but the adapter was trained without a chat template. Use rows "
            "like those it was trained on."
        )


def _chat_note(task: Task, model: LanguageModel, context: bool) -> str:
    """Return a note on what the model's chat template does with a task. Raises InputError if there is no template."""
    tokenizer = PromptTokenizer.of(model, task.as_chat())
    turns = "Queries and labels are turns of the model's chat template."
    if not tokenizer.takes_system and (context or _has_system_turns(task)):
        turns += " It has no system turn, so a system message is put before the user's next message."
    if tells_the_day(model.tokenizer):
        turns += f" The date in it is always {TODAY:%d %B %Y}."
    return turns


def _has_system_turns(task: Task) -> bool:
    """Whether any row is a conversation that starts with a system turn."""
    return any(turns_of(row.query)[0].role == "system" for row in task.pool + task.evaluation)


def _labels_note(task: Task) -> str:
    """Return a note that lists the labels with their counts, which exposes misspelt ones."""
    counts = Counter(row.response.strip() for row in task.pool + task.evaluation)
    shown = [f"{label} ({count})" for label, count in counts.most_common(MAX_LISTED_LABELS)]
    more = [f"{len(counts) - len(shown)} more"] * (len(counts) > len(shown))
    return f"Labels: {', '.join(shown + more)}."
