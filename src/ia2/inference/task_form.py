"""A task in the form in which a model can answer it: how labels follow a query, and whether a chat template asks."""

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

SHOWN_LABELS = 12


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
    """A task as a model is asked it; what was chosen is said in its notes.

    The labels of a person's file follow the colon with one space, unless only the spaceless form is a single token of
    the model's tokenizer. An adapter that is measured has its own form.

    Args:
        task: the task, of a file or built in.
        model: the model.
        chat: whether queries and responses are turns of the model's chat template.
        stop: a text that ends a response of free text, where one was asked for.
        label_scoring: how labels compete.
        taught: what the adapter was taught that is measured, if one is.
        context: whether a text of the person stands before the queries.

    Raises:
        InputError: the model can't answer in this form, never comes to the stop that was asked for, or the adapter was
            taught other labels or another form.
    """
    stop_token(model.tokenizer, stop)  # refuses one that could never come
    of_a_file = task.as_written
    if task.chat:
        _check_conversations(task, model, taught)
    chat = chat or task.chat
    if taught is not None:
        taught.check_turns(chat)
        if of_a_file:
            task = taught.in_form(task)
    if chat:
        turns = _turns_said(task, model, context)
        # a blank line ends no turn of a conversation, but what the person named does
        said = (*_scoring_said(task, label_scoring), *_beginnings_said(task.as_chat(), model, label_scoring, taught))
        return replace(task.as_chat(), stop=stop, notes=(*task.notes, *said, turns))
    if not of_a_file or task.response_kind == "text":
        return task
    task = replace(task, notes=(*task.notes, _labels_said(task), *_scoring_said(task, label_scoring)))
    if taught is not None:
        return task
    task = replace(task, notes=(*task.notes, *_beginnings_said(task, model, label_scoring, taught)))
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


def _scoring_said(task: Task, choice: AnyLabelScoring) -> tuple[str, ...]:
    """How labels compete, where that was chosen for the person and isn't what the paper does."""
    if choice != "auto" or not task.labels or label_scoring_of(task, choice) == "token":
        return ()
    return ("Whole labels are scored against each other; accuracy and calibration are over the labels alone.",)


def _beginnings_said(
    task: Task, model: LanguageModel, choice: AnyLabelScoring, taught: Provenance | None
) -> tuple[str, ...]:
    """That one label begins another, where that decides between them."""
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
    """Refuse what can't be asked conversations, which have no other form. Raises InputError."""
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


def _turns_said(task: Task, model: LanguageModel, context: bool) -> str:
    """What the model's chat template does with a task. Raises InputError where there is no template."""
    tokenizer = PromptTokenizer.of(model, task.as_chat())
    turns = "Queries and labels are turns of the model's chat template."
    if not tokenizer.takes_system and (context or _has_system_turns(task)):
        turns += " It has no system turn, so a system message is put before the user's next message."
    if tells_the_day(model.tokenizer):
        turns += f" The date in it is always {TODAY:%d %B %Y}."
    return turns


def _has_system_turns(task: Task) -> bool:
    """Whether rows are conversations that begin with a system turn."""
    return any(turns_of(row.query)[0].role == "system" for row in task.pool + task.evaluation)


def _labels_said(task: Task) -> str:
    """The labels with how many rows have each, so that a misspelt one is seen."""
    counts = Counter(row.response.strip() for row in task.pool + task.evaluation)
    shown = [f"{label} ({count})" for label, count in counts.most_common(SHOWN_LABELS)]
    more = [f"{len(counts) - len(shown)} more"] * (len(counts) > len(shown))
    return f"Labels: {', '.join(shown + more)}."
