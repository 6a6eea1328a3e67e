"""What each command does: load, adapt or measure, and show the result."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ia2.adapt import Adaptation, Settings
from ia2.adapters.adapter import Adapter
from ia2.adapters.kinds import ADAPTERS, AdapterKind, LoRA, PrefixTuning, PromptTuning
from ia2.cache import check_absent_or_empty, folder_written_whole, written_whole
from ia2.console import ConsoleProgress
from ia2.demo import MODEL, TASK, measure_everything
from ia2.errors import InputError
from ia2.evaluation import evaluate
from ia2.experiments.cluster import run_on_cluster
from ia2.experiments.config import load_experiment
from ia2.experiments.plan import described, units
from ia2.experiments.run import run
from ia2.experiments.store import FAILURES, Store, load_experiment_of, load_records
from ia2.experiments.tokens import described_tokens
from ia2.fewshot import FewShotSet, PromptTokenizer
from ia2.labels import LabelTokens
from ia2.method_files import load_method
from ia2.methods import METHODS, SFT, Method, method_named
from ia2.models.load import LanguageModel, load_model
from ia2.models.names import check_model_name
from ia2.models.packaged import PACKAGED
from ia2.objectives import MatchTokens
from ia2.options import Adapt, Demo, Evaluate, Report, Rescore, Run, Source
from ia2.ordering import best_ordered
from ia2.progress import Progress
from ia2.records import Record, task_record
from ia2.reports.aggregate import cells
from ia2.reports.figures import save_figure, svg_of
from ia2.reports.page import START, page
from ia2.reports.paper import load_paper
from ia2.reports.study import STARTS, explained, rendered, study_tables
from ia2.reports.study_figures import study_figures
from ia2.reports.tables import comparison_table
from ia2.rescoring import rescore
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.tasks.files import load_file, load_queries
from ia2.tasks.load import load_task
from ia2.tasks.task import Instruction, Shown, Task

MOST_TRAINING_ROWS = 128
TASK_TRAINING_ROWS = 16
REPORT_FILES = {"html": "index.html", "markdown": "report.md", "latex": "report.tex", "csv": "report.csv"}


def run_demo(options: Demo) -> None:
    """Measure every method on the built-in reviews, and show a table and where the picture is."""
    progress = ConsoleProgress()
    check_absent_or_empty(options.out)
    task = load_task(TASK)
    model = load_model(MODEL, progress=progress)
    with folder_written_whole(options.out) as folder:
        result = measure_everything(model, task, folder, seed=options.seed, quick=options.quick, progress=progress)
    show(result.records)
    for figure in result.figures:
        print(options.out / figure.relative_to(folder))
    print(f"{options.out}/: records, predictions and adapters")


def run_adapt(options: Adapt) -> None:
    """Train, measure, and show what it was worth."""
    progress = ConsoleProgress()
    method, adapter = method_of_options(options), adapter_of_options(options)
    check_absent_or_empty(options.out)
    check_model_name(options.model)
    task = load_rows(options, options.eval_data)
    n = options.n or default_n(options, task)
    FewShotSet.draw(task, n, options.seed)  # refuses what can't be drawn before a model is fetched
    model = load_model(options.model, dtype=options.dtype, device=options.device, progress=progress)
    task, notes = fit_labels(task, model, options)
    context = read_context(options)
    unlabelled: tuple[str, ...] = ()
    if options.unlabelled is not None:
        unlabelled, said = load_queries(options.unlabelled, task, options.text)
        notes += said
    few_shot_set = replace(
        FewShotSet.draw(task, n, options.seed).limited(options.limit),
        context=context,
        unlabelled=unlabelled,
        orders=options.orders,
    )
    if options.best_of is not None:
        few_shot_set = best_ordered(model, few_shot_set, options.best_of, progress)
    for sentence in (*notes, describe_set(few_shot_set)):
        progress.say(sentence)
    settings = Settings(
        learning_rates=options.lr or default_learning_rates(adapter, task, progress),
        adapter=adapter,
        betas=options.beta,
        label_scoring=options.label_scoring,
        memory=options.memory * 2**30 if options.memory is not None else None,
        ece=options.ece,
    )
    with folder_written_whole(options.out) as folder:
        adaptation = Adaptation(model, few_shot_set, settings, folder, notes=notes, progress=progress)
        if options.compare and few_shot_set.evaluation:
            adaptation.measure_baseline("zero-shot", ())
            adaptation.measure_baseline("icl" if context is None else "context", few_shot_set.demonstrations())
        compared = {SFT: "compared/sft"} if options.compare and few_shot_set.evaluation and method is not SFT else {}
        adaptation.measure_methods({**compared, method: "adapter"})
    if few_shot_set.evaluation:
        show(adaptation.records)
    else:
        print(
            "Nothing was measured: no row is left to evaluate. Use a smaller --n, or name more rows with --eval-data."
        )
    print(f"{options.out / 'adapter'}/: the adapter, in PEFT's format")
    print(f"{options.out}/: records and predictions")


def run_evaluate(options: Evaluate) -> None:
    """Measure a model as it is, with demonstrations, or with an adapter."""
    progress = ConsoleProgress()
    check_model_name(options.model)
    if options.out is not None and options.out.exists():
        raise InputError(f"{options.out}: this file exists. Name another with --out.")
    adapter = Adapter.load(options.adapter) if options.adapter is not None else None
    task = load_rows(options, None)
    if options.icl is not None:
        FewShotSet.draw(task, options.icl, options.seed)  # refuses what can't be drawn before a model is fetched
    model = load_model(options.model, dtype=options.dtype, device=options.device, progress=progress)
    task, notes = fit_labels(task, model, options)
    context = read_context(options)
    demonstrations: tuple[Shown, ...] = (context,) if context is not None else ()
    examples = task.evaluation or task.pool
    if options.icl is not None:
        few_shot_set = FewShotSet.draw(task, options.icl, options.seed)
        demonstrations, examples = few_shot_set.demonstrations(), few_shot_set.evaluation
    examples = examples[: options.limit]
    if not examples:
        raise InputError(f"{task.name}: no row is left to evaluate; use fewer demonstrations (--icl).")
    method = "context" if context else "icl" if demonstrations else "adapter" if adapter else "zero-shot"
    for sentence in (*notes, f"{task.name}: {method} on {len(examples)} rows"):
        progress.say(sentence)
    evaluation = evaluate(
        model,
        examples,
        task,
        demonstrations=demonstrations,
        adapter=adapter,
        label_scoring=options.label_scoring,
        progress=progress,
    )
    record = Record(
        method=method,
        model=model.identity.as_record(),
        task=task_record(task, trained_on=None),
        n=options.icl or 0,
        seed=options.seed if options.icl else None,
        lr=None,
        adapter=adapter.as_record(str(options.adapter)) if adapter is not None else None,
        metrics={
            **evaluation.metrics(options.ece),
            "asim": None,
            "prompt_tokens": PromptTokenizer.of(model, task).mean_prompt_tokens(examples, demonstrations),
        },
        seconds={"evaluate": round(progress.seconds["evaluate"], 3)},
        options={"label_scoring": options.label_scoring},
        notes=notes,
    )
    show([record.as_json()])
    if options.out is not None:
        predictions = options.out.with_suffix(".predictions.jsonl")
        record.write(options.out, predictions, evaluation.rows())
        print(f"{options.out}: the record, and {predictions.name} beside it")


def run_rescore(options: Rescore) -> None:
    """Find the answers in stored generations again, rewrite the records, and show what they say now."""
    rescored = rescore(options.folder)
    for record in rescored:
        print(f"{record.path}: {record.changed} of {record.rows} rows are judged otherwise than before.")
    show([record.value for record in rescored])


def run_study(options: Run) -> int:
    """Compute a study's missing units, or say what they would be. Returns 1 if a unit failed."""
    progress = ConsoleProgress()
    experiment = load_experiment(options.experiment)
    for model in experiment.all_models:
        check_model_name(model)
    for sentence in described(experiment):
        print(sentence)
    if options.dry_run:
        print(described_tokens(experiment, options.data_dir, options.limit))
        return 0
    assert options.out is not None, "Run has checked that there is a folder"
    store = Store(options.out)
    store.open(experiment, options.limit)
    settings: dict[str, Any] = {"data_dir": options.data_dir, "limit": options.limit, "progress": progress}
    if options.cluster is None:
        outcome = run(experiment, store, **settings)
    else:
        outcome = run_on_cluster(experiment, store, options.cluster, **settings)
    said = [f"{outcome.done} units computed"]
    said += [f"{outcome.before} were there already"] * bool(outcome.before)
    said += [f"{outcome.elsewhere} are another process's"] * bool(outcome.elsewhere)
    said += [f"{len(outcome.failed)} failed ({options.out / FAILURES}/ says why)"] * bool(outcome.failed)
    print(f"{options.out}/: {', '.join(said)}.")
    return 1 if outcome.failed else 0


def run_report(options: Report) -> None:
    """Print a study's tables, or write them or its page."""
    experiment, store = load_experiment_of(options.folder), Store(options.folder)
    found = cells(load_records(options.folder), experiment.select)
    paper = load_paper() if options.paper else None
    tables = study_tables(found, paper)
    every = units(experiment)
    done, failures = sum(map(store.is_done, every)), store.failures()
    notes = [experiment.description] if experiment.description else []
    if done < len(every):
        notes.append(f"{done} of the study's {len(every)} units are computed, {len(failures)} failed.")
    notes += explained(found, experiment.select, tables, paper)
    out = options.out
    if options.format == "html":
        out = out or options.folder / "report"
        text = page(
            experiment.name,
            tables,
            notes=notes,
            settings=experiment.model_dump(mode="json"),
            failures=failures,
            # as the browser goes, which knows no links between folders
            folder=Path(os.path.relpath(options.folder, out)).as_posix(),
            figures={name: (svg_of(drawn.figure), drawn.caption) for name, drawn in study_figures(found).items()},
        )
    else:
        text = rendered(experiment.name, tables, options.format, notes)
    if out is None:
        sys.stdout.write(text)
        return
    path = out / REPORT_FILES[options.format]
    check_replaceable(path, START if options.format == "html" else STARTS[options.format])
    with written_whole(path) as partial:
        partial.write_text(text, encoding="utf-8")
    print(path)
    if options.format in ("markdown", "latex"):
        for number, drawn in enumerate(study_figures(found).values(), start=1):
            for file in save_figure(drawn.figure, out / f"figure{number}"):
                print(file)


def check_replaceable(path: Path, start: str) -> None:
    """Refuse to write a report where something else is.

    Args:
        path: the report's file.
        start: how reports begin; an earlier one may be replaced.

    Raises:
        InputError: the folder is a file, or the file is no report.
    """
    if path.parent.exists() and not path.parent.is_dir():
        raise InputError(f"--out {path.parent}: this is a file, and a folder is to be written. Name another one.")
    if path.is_dir() or (path.exists() and not path.read_bytes().startswith(start.encode())):
        raise InputError(f"{path}: this is no report of ours, and isn't overwritten. Name another folder with --out.")


def list_tasks() -> None:
    """One line on each built-in task."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("task", "paper", "kind", "use", "what it is"):
        table.add_column(heading)
    table.add_row("reviews", "–", "label", "train and evaluate", load_task("reviews").description)
    for name, benchmark in BENCHMARKS.items():
        use = "evaluate" if benchmark.evaluation_only else "train and evaluate"
        kind = "label" if benchmark.labels else "text"
        table.add_row(name, benchmark.paper_name, kind, use, benchmark.description)
    stdout().print(table)


def list_models() -> None:
    """One line on each built-in model."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "licence", "what it is"):
        table.add_column(heading)
    for name, packaged in PACKAGED.items():
        table.add_row(name, packaged.licence, packaged.description)
    stdout().print(table)
    print("Any Hugging Face model id, folder or GGUF file works as well.")


def list_methods() -> None:
    """One line on each method."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("method", "what it is"):
        table.add_column(heading)
    for name, method in METHODS.items():
        table.add_row(name, method.description)
    stdout().print(table)
    print("A YAML file can describe another; see docs/method.md.")


def method_of_options(options: Adapt) -> Method:
    """The method that was named or described in a file, with the responses that were asked for."""
    path = Path(options.method)
    method = load_method(path) if path.suffix in (".yaml", ".yml") else method_named(options.method)
    if options.beta and not method.tries_betas:
        raise InputError(f"--beta {options.beta[0]:g}: {method.name} has no weight to be tried; ia2+sft has.")
    if options.label_source is None:
        return method
    changed = method.fine_tuned_on(options.label_source)
    if not any(isinstance(stage.objective, MatchTokens) for stage in method.stages):
        raise InputError(f"--label-source {options.label_source}: {method.name} has no stage that fits tokens.")
    return changed


def adapter_of_options(options: Adapt) -> AdapterKind:
    """The adapter that was asked for."""
    if options.adapter == "lora":
        return LoRA(rank=options.rank or LoRA().rank, dora=options.dora, rslora=options.rslora)
    kind = ADAPTERS[options.adapter]
    if options.virtual_tokens is not None:
        assert kind is PromptTuning or kind is PrefixTuning, "the options have checked that it has virtual tokens"
        return kind(tokens=options.virtual_tokens)
    return kind()


def load_rows(options: Source, evaluation: Path | None) -> Task:
    """The rows that were asked for, from a file or a named task."""
    if options.data is not None:
        return load_file(
            options.data,
            text=options.text,
            label=options.label,
            evaluation_path=evaluation,
            response_kind=options.response_kind,
        )
    assert options.task is not None, "Source has checked that one of the two is given"
    return load_task(options.task, data_dir=options.data_dir)


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


def fit_labels(task: Task, model: LanguageModel, options: Source) -> tuple[Task, tuple[str, ...]]:
    """A user's labels in the form that is one token under the model's tokenizer, and what is to be said of the task.

    They follow the colon with one space, unless only the spaceless form is a single token.
    """
    if options.chat:
        PromptTokenizer.of(model, task.as_chat())  # refuses a model without a template
        return task.as_chat(), (*task.notes, "Queries and labels are turns of the model's chat template.")
    if options.data is None or task.response_kind == "text":
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


def describe_set(few_shot_set: FewShotSet) -> str:
    """One line on what is trained and measured."""
    return (
        f"{few_shot_set.task.name}: N = {few_shot_set.n}, {len(few_shot_set.dev)} dev rows, "
        f"{len(few_shot_set.evaluation)} evaluation rows, seed {few_shot_set.seed}."
    )


def show(records: Sequence[Mapping[str, Any]]) -> None:
    """Print the table that a command ends with."""
    stdout().print(comparison_table(records))


def stdout() -> Console:
    """Where results go; wide enough for a table also where the output is piped."""
    console = Console(file=sys.stdout, highlight=False)
    return console if console.is_terminal else Console(file=sys.stdout, highlight=False, width=120)
