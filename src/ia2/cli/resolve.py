"""What a command's options stand for: the method, adapter, rows and context, and what is chosen if nothing was said."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from ia2.adapters.kind import AdapterKind
from ia2.adapters.provenance import Taught
from ia2.adapters.registry import adapter_of
from ia2.cli.options import Adapt, Source
from ia2.errors import InputError
from ia2.inference.decoding import stop_token
from ia2.inference.label_scoring import LabelTokens
from ia2.models.load import LanguageModel
from ia2.progress import Progress
from ia2.prompting.chat_templates import TODAY, tells_the_day
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.files import load_file
from ia2.tasks.load import load_task
from ia2.tasks.task import Instruction, Task
from ia2.training.method_files import load_method
from ia2.training.methods import Method, method_named
from ia2.training.objectives import MatchTokens

MOST_TRAINING_ROWS = 128
TASK_TRAINING_ROWS = 16
SHOWN_LABELS = 12


def method_of_options(options: Adapt) -> Method:
    """The method that was named or described in a file, with the responses that were asked for."""
    path = Path(options.method)
    method = load_method(path) if path.suffix in (".yaml", ".yml") else method_named(options.method)
    if options.beta and not method.tries_betas:
        raise InputError(f"--beta {options.beta[0]:g}: {method.name} has no weight to be tried; ia2+sft has.")
    if options.unlabelled is not None and all(stage.labels == "ground-truth" for stage in method.stages):
        raise InputError(
            f"--unlabelled {options.unlabelled}: {method.name} learns from labels alone; ia2-sft does not."
        )
    if options.lr and not method.has_learning_rate and not options.compare:
        raise InputError(f"--lr {options.lr[0]:g}: {method.name} takes no steps at a rate that you could choose.")
    if options.adapter != "lora" and any(stage.solved for stage in method.stages):
        raise InputError(f"--adapter {options.adapter}: {method.name} is solved for lora alone.")
    if options.label_source is None:
        return method
    changed = method.fine_tuned_on(options.label_source)
    if not any(isinstance(stage.objective, MatchTokens) for stage in method.stages):
        raise InputError(f"--label-source {options.label_source}: {method.name} has no stage that fits tokens.")
    # its results may stand beside the unchanged method's
    return replace(changed, name=f"{method.name}-{options.label_source}") if changed != method else method


def adapter_of_options(options: Adapt) -> AdapterKind:
    """The adapter that was asked for."""
    sizes: dict[str, Any] = {}
    if options.adapter == "lora":
        sizes = {"dora": options.dora, "rslora": options.rslora, "dropout": options.dropout}
        sizes |= {"rank": options.rank} if options.rank is not None else {}
    elif options.virtual_tokens is not None:
        sizes = {"tokens": options.virtual_tokens}
    return adapter_of(options.adapter, sizes)


def load_rows(options: Source, evaluation: Path | None) -> Task:
    """The rows that were asked for, from a file or a named task, and how responses of free text end."""
    if options.data is not None:
        task = load_file(
            options.data,
            text=options.text,
            label=options.label,
            evaluation_path=evaluation,
            response_kind=options.response_kind,
        )
    else:
        assert options.task is not None, "Source has checked that one of the two is given"
        task = load_task(options.task, data_dir=options.data_dir)
    ends = {name: value for name in ("max_new_tokens", "stop") if (value := getattr(options, name)) is not None}
    if ends and task.response_kind == "label":
        flag = next(iter(ends)).replace("_", "-")
        raise InputError(f"--{flag}: this is for responses of free text, and those of {task.name} are labels.")
    return replace(task, **ends)


def read_context(options: Source) -> Instruction | None:
    """The text that stands before every query, if one was given."""
    if options.context is None:
        return None
    try:
        text = options.context.read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"--context {options.context}: this file can't be read ({reason}).") from error
    if not text:
        raise InputError(f"--context {options.context}: this file is empty.")
    return Instruction(text)


def check_demonstrations(task: Task, count: int) -> None:
    """Refuse more demonstrations than a set of that size can be drawn for, with a row left to be measured.

    Raises:
        InputError: there are too few rows.
    """
    # as in adapt, where the same rows teach: half as many more choose
    rows = len(task.pool) - (not task.evaluation)
    most = (2 * rows + 1) // 3
    if count > most:
        hint = f"Use --icl {most} or fewer" if most > 1 else "Add rows"
        raise InputError(f"--icl {count}: {task.name} has {len(task.pool)} rows to draw from and to measure. {hint}.")


def default_n(options: Source, task: Task) -> int:
    """Half of a file's rows, at most 128, at least 2; 16 of a named task."""
    if options.data is None:
        return TASK_TRAINING_ROWS
    return max(2, min(MOST_TRAINING_ROWS, len(task.pool) // 2))


def default_learning_rates(adapter: AdapterKind, task: Task, progress: Progress) -> tuple[float, ...]:
    """The adapter's three; the middle one alone for free text, which is said."""
    rates = adapter.learning_rates
    if task.response_kind == "label":
        return rates
    every = " ".join(f"{rate:.0e}".replace("e-0", "e-") for rate in rates)
    progress.say(f"One learning rate, {rates[1]:g}, since steps on free text are long; --lr {every} tries three.")
    return (rates[1],)


def fit_labels(
    task: Task, model: LanguageModel, options: Source, taught: Taught | None = None
) -> tuple[Task, tuple[str, ...]]:
    """A user's labels in the form that is one token under the model's tokenizer, and what is to be said of the task.

    They follow the colon with one space, unless only the spaceless form is a single token. An adapter that is measured
    has its own form.

    Raises:
        InputError: the model can't answer in this form, never comes to the stop that was asked for, or the adapter was
            taught other labels or another form.
    """
    stop_token(model.tokenizer, options.stop)  # refuses one that could never come
    if taught is not None:
        taught.check_turns(options.chat)
        if options.data is not None:
            task = taught.in_form(task)
    if options.chat:
        PromptTokenizer.of(model, task.as_chat())  # refuses a model without a template
        said = "Queries and labels are turns of the model's chat template."
        if tells_the_day(model.tokenizer):
            said += f" The day that it tells is always {TODAY:%d %B %Y}."
        # a blank line ends no turn of a conversation, but what the person named does
        return replace(task.as_chat(), stop=options.stop), (*task.notes, said)
    if options.data is None or task.response_kind == "text":
        return task, task.notes
    task = replace(task, notes=(*task.notes, _labels_said(task)))
    if taught is not None:
        return task, task.notes
    tokenizer = PromptTokenizer.of(model, task)
    spaceless = task.with_spaceless_labels()
    if (
        options.label_scoring == "token"
        and not LabelTokens.of(task, tokenizer, "whole").single
        and LabelTokens.of(spaceless, tokenizer, "whole").single
    ):
        said = "Labels follow the colon without a space: only so is each a single token of this model."
        return spaceless, (*task.notes, said)
    return task, (*task.notes, "Labels follow the colon with one space.")


def _labels_said(task: Task) -> str:
    """The labels with how many rows have each, so that a misspelt one is seen."""
    counts = Counter(row.response.strip() for row in task.pool + task.evaluation)
    shown = [f"{label} ({count})" for label, count in counts.most_common(SHOWN_LABELS)]
    more = [f"{len(counts) - len(shown)} more"] * (len(counts) > len(shown))
    return f"Labels: {', '.join(shown + more)}."
