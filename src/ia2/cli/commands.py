"""The commands' implementations: load, adapt or evaluate, and show the results."""

import shutil
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ia2.adapters.adapter import Adapter
from ia2.adapters.provenance import Provenance, weights_id
from ia2.cache import check_writable, folder_written_whole
from ia2.cli.console import ConsoleProgress, stdout
from ia2.cli.demo import compute_demo
from ia2.cli.loading_options import loading_of
from ia2.cli.options import Adapt, Demo, Evaluate
from ia2.cli.resolve import check_demonstrations, load_task_of, study_of_adapt
from ia2.cli.study_options import Report, Rescore
from ia2.errors import InputError
from ia2.evaluation.evaluate import EvaluationSettings, evaluate
from ia2.evaluation.rescoring import rescore
from ia2.experiments.plan import check_sets
from ia2.experiments.rows import read_context
from ia2.experiments.single import compute_single
from ia2.experiments.store import ADAPTERS
from ia2.experiments.trackers import Tracking
from ia2.inference.label_scoring import AnyLabelScoring, label_scoring_of
from ia2.inference.task_form import fitted
from ia2.models.load import LanguageModel, load_model
from ia2.models.names import check_model_name
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.records import AdapterRecord, Metrics, ModelRecord, Options, Record, TaskRecord
from ia2.reports.comparison_table import comparison_table
from ia2.reports.conclusion import conclusion
from ia2.reports.method_names import method_name, with_distinct_name
from ia2.reports.renderings import in_terminal
from ia2.reports.report import StudyReport
from ia2.tasks.task import ContextItem, Example, Task


def run_demo(options: Demo) -> None:
    """Run both parts of the demo, and show their tables, conclusions and the paths of the figures."""
    result = compute_demo(options.out, seed=options.seed, quick=options.quick, progress=ConsoleProgress())
    console = stdout()
    for table, conclusion_of_part in zip(result.tables, result.conclusions, strict=True):
        console.print(in_terminal(table, console.width))
        print(f"{conclusion_of_part}\n")
    for figure in result.figures:
        print(figure)
    print(f"{options.out}/: two studies; ia2 report {options.out}/labelled shows one")


def run_adapt(options: Adapt) -> None:
    """Train and evaluate an adapter, and show how it compares with the baselines."""
    progress = ConsoleProgress()
    experiment = study_of_adapt(options, progress)
    check_sets(experiment, options.data_dir)
    records = compute_single(
        experiment,
        options.out,
        data_dir=options.data_dir,
        progress=progress,
        tracking=Tracking.of(options.track, experiment.name, options.out),
    )
    named = [with_distinct_name(record, records) for record in records]
    copies = copy_adapters(named, options.out)
    if records[-1].metrics.n:
        show(records)
        print(conclusion(named, options.out))
    else:
        print("Nothing was measured: no rows were left to evaluate. Use a smaller --n, or add rows with --eval-data.")
    for record, path in copies:
        print(f"{path}/: the {method_name(record)} adapter")
    print(f"{options.out}/: records and predictions; ia2 report {options.out} shows them")


def copy_adapters(records: Sequence[Record], folder: Path) -> list[tuple[Record, Path]]:
    """Copy adapters to where users look for them: the last record's to `adapter/`, others to `adapters/METHOD/`.

    Existing folders are left unchanged.

    Args:
        records: the records of a unit, in order, each of a different method.
        folder: the study's folder.

    Returns:
        Each record with an adapter, and the folder of the copy; the last record comes first.
    """
    copies = []
    for record in reversed(records):
        if record.adapter is None or record.adapter.path is None:
            continue
        path = folder / "adapter" if record is records[-1] else folder / ADAPTERS / record.method
        if not path.exists():
            with folder_written_whole(path) as partial:
                shutil.copytree(folder / record.adapter.path, partial, dirs_exist_ok=True)
        copies.append((record, path))
    return copies


def run_evaluate(options: Evaluate) -> None:
    """Evaluate a model zero-shot, with demonstrations, or with an adapter."""
    progress = ConsoleProgress()
    check_model_name(options.model)
    predictions = _free_predictions(options.out)
    adapter = Adapter.load(options.adapter) if options.adapter is not None else None
    taught = Provenance.beside(options.adapter) if options.adapter is not None else None
    context = read_context(options.context)
    task = load_task_of(options)
    if options.icl is not None:
        check_demonstrations(task, options.icl)
    model = load_model(options.model, **loading_of(options), progress=progress)
    scoring = _label_scoring(options, taught)
    task = fitted(
        task, model, chat=options.chat, stop=options.stop, label_scoring=scoring, taught=taught, context=bool(context)
    )
    notes = task.notes
    demonstrations: tuple[ContextItem, ...] = (context,) if context is not None else ()
    examples = task.evaluation or task.pool
    if taught is not None:
        examples, adapter_notes = _unseen(taught, model, examples)
        notes += adapter_notes
    drawing = None
    if options.icl is not None:
        few_shot_set = FewShotSet.draw(task, options.icl, options.seed, options.draw)
        notes, drawing = notes + few_shot_set.notes, few_shot_set.drawing
        demonstrations, examples = few_shot_set.demonstrations(), few_shot_set.evaluation
    every, examples = examples, task.at_most(examples, options.limit)
    _check_some_left(task, every, adapter)
    method = "context" if context else "icl" if demonstrations else "adapter" if adapter else "zero-shot"
    share = f"{len(examples)} of " if len(examples) < len(every) else ""
    for sentence in (*notes, f"{task.name}: {method} on {share}{_counted(every, 'row')}"):
        progress.say(sentence)
    settings = EvaluationSettings(label_scoring=scoring, progress=progress)
    evaluation = evaluate(model, examples, task, demonstrations=demonstrations, adapter=adapter, settings=settings)
    record = Record(
        method=method,
        model=ModelRecord(**model.identity.as_record()),
        task=TaskRecord(**task.as_record(trained_on=None)),
        n=options.icl or 0,
        seed=options.seed if options.icl else None,
        lr=None,
        adapter=AdapterRecord(**adapter.as_record(str(options.adapter))) if adapter is not None else None,
        metrics=Metrics(
            **evaluation.metrics(options.ece),
            asim=None,
            prompt_tokens=_prompt_tokens(model, task, examples, demonstrations, adapter),
        ),
        seconds={"evaluate": round(progress.seconds["evaluate"], 3)},
        options=Options.model_validate({"label_scoring": label_scoring_of(task, scoring), "draw": drawing}),
        notes=[*model.notes, *notes],
    )
    show([record])
    if options.out is not None and predictions is not None:
        record.write(options.out, predictions, evaluation.rows())
        print(f"{options.out}: the record, with {predictions.name} beside it")


def _label_scoring(options: Evaluate, taught: Provenance | None) -> AnyLabelScoring:
    """Return the label scoring: the one asked for, or by default the one the adapter was trained for."""
    if options.label_scoring == "auto" and taught is not None and taught.label_scoring is not None:
        return taught.label_scoring
    return options.label_scoring


def _prompt_tokens(
    model: LanguageModel,
    task: Task,
    examples: tuple[Example, ...],
    demonstrations: tuple[ContextItem, ...],
    adapter: Adapter | None,
) -> float:
    """Return the mean number of prompt tokens per query, including virtual tokens."""
    virtual_tokens = getattr(adapter.configuration, "num_virtual_tokens", 0) if adapter is not None else 0
    tokens = PromptTokenizer.of(model, task).mean_prompt_tokens(examples, [demonstrations] * len(examples))
    return float(virtual_tokens + tokens)


def _unseen(
    taught: Provenance, model: LanguageModel, examples: tuple[Example, ...]
) -> tuple[tuple[Example, ...], tuple[str, ...]]:
    """Return the rows that an adapter hasn't seen in training, with notes on the rows and on the model."""
    notes: tuple[str, ...] = ()
    if taught.weights != weights_id(model):
        notes += ("The adapter was trained on different weights from this model's, so its answers may be meaningless.",)
    if len(unseen := taught.unseen(examples)) < len(examples):
        notes += (
            f"{len(examples) - len(unseen)} rows are left out, as they are in the adapter's training or dev set.",
        )
    return unseen, notes


def _free_predictions(out: Path | None) -> Path | None:
    """Return the path for predictions beside a record's file; None if no file is asked for.

    Raises:
        InputError: one of the two files exists, or can't be written.
    """
    if out is None:
        return None
    predictions = out.with_name(f"{out.name.removesuffix('.json')}.predictions.jsonl")
    for path in (out, predictions):
        if path.exists():
            raise InputError(f"{path}: this already exists and is not overwritten. Name another with --out.")
    check_writable(out)
    return predictions


def run_rescore(options: Rescore) -> None:
    """Extract the answers from stored generations again, rewrite the records, and show the new results."""
    rescored = rescore(options.folder)
    for judged in rescored:
        print(f"{judged.path}: {judged.changed} of {judged.rows} rows are now scored differently.")
    tables: dict[tuple[str | None, str], list[Record]] = defaultdict(list)
    for judged in rescored:
        tables[judged.record.options.unit, judged.record.task.eval].append(judged.record)
    for records in tables.values():
        show(records)


def run_report(options: Report) -> None:
    """Print a study's tables, or write them or its HTML page."""
    report = StudyReport.of(options.folder, with_paper=options.paper)
    out = options.out or options.folder / "report"
    if options.keep_records:
        report.check_kept(out)  # before anything is written
    if (why_not := report.keep_overlaps()) is not None:
        ConsoleProgress().say(why_not)
    if options.out is None and options.format != "html":
        sys.stdout.write(report.text(options.format))
        return
    for path in report.write(out, options.format):
        print(path)
    if options.keep_records:
        print(report.keep_records(out))


def _check_some_left(task: Task, examples: Sequence[Example], adapter: Adapter | None) -> None:
    """Refuse an evaluation without rows. Raises InputError."""
    if examples:
        return
    reason = (
        "all of them are in the adapter's training or dev set; name a file with other rows"
        if adapter
        else "the demonstrations use all of them; use fewer (--icl) or add rows"
    )
    raise InputError(f"{task.name}: no rows are left to evaluate: {reason}.")


def _counted(rows: Sequence[Any], noun: str) -> str:
    return f"{len(rows)} {noun}{'s' * (len(rows) != 1)}"


def show(records: Sequence[Record]) -> None:
    """Print the table of results at the end of a command."""
    console = stdout()
    console.print(
        in_terminal(comparison_table([with_distinct_name(record, records) for record in records]), console.width)
    )
