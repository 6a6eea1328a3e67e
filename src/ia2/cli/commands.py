"""What each command does: load, adapt or measure, and show the result."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ia2.adapters.adapter import Adapter
from ia2.adapters.provenance import Taught, weights_id
from ia2.cache import check_absent_or_empty, check_writable, folder_written_whole
from ia2.cli.console import ConsoleProgress, stdout
from ia2.cli.demo import MODEL, TASK, measure_everything
from ia2.cli.options import Adapt, Demo, Evaluate, Report, Rescore, Run
from ia2.cli.resolve import (
    adapter_of_options,
    check_demonstrations,
    default_learning_rates,
    default_n,
    fit_labels,
    load_rows,
    method_of_options,
    read_context,
)
from ia2.errors import InputError
from ia2.evaluation.evaluate import evaluate
from ia2.evaluation.rescoring import rescore
from ia2.experiments.adaptation import Adaptation, Settings
from ia2.experiments.cluster import run_on_cluster
from ia2.experiments.plan import check_sets, described
from ia2.experiments.run import run
from ia2.experiments.store import FAILURES, Store
from ia2.experiments.study_file import load_experiment
from ia2.experiments.token_estimate import described_tokens
from ia2.experiments.trackers import Tracking
from ia2.models.load import load_model
from ia2.models.names import check_model_name
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.records import Record, task_record
from ia2.reports.report import StudyReport
from ia2.reports.tables import comparison_table
from ia2.tasks.files import load_queries
from ia2.tasks.load import load_task
from ia2.tasks.task import Shown
from ia2.training.demonstration_order import best_ordered
from ia2.training.early_stopping import Training
from ia2.training.methods import SFT


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
    tracking = Tracking.of(options.track, options.out.resolve().name, options.out)
    context = read_context(options)
    task = load_rows(options, options.eval_data)
    n = options.n or default_n(options, task)
    FewShotSet.draw(task, n, options.seed)  # refuses what can't be drawn before a model is fetched
    unlabelled: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    if options.unlabelled is not None:
        unlabelled, said = load_queries(options.unlabelled, task, options.text)
    model = load_model(options.model, dtype=options.dtype, device=options.device, progress=progress)
    task, notes = fit_labels(task, model, options)
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
        training=Training(epochs=options.epochs),
        betas=options.beta,
        label_scoring=options.label_scoring,
        memory=options.memory * 2**30 if options.memory is not None else None,
        ece=options.ece,
    )
    with folder_written_whole(options.out) as folder:
        adaptation = Adaptation(model, few_shot_set, settings, folder, notes=(*model.notes, *notes), progress=progress)
        if options.compare and few_shot_set.evaluation:
            adaptation.measure_baseline("zero-shot", ())
            adaptation.measure_baseline("icl" if context is None else "context", few_shot_set.demonstrations())
        compared = {SFT: "compared/sft"} if options.compare and few_shot_set.evaluation and method != SFT else {}
        adaptation.measure_methods({**compared, method: "adapter"})
    for record in adaptation.records:
        tracking.show(record["method"], record)
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
    predictions = (
        options.out.with_name(f"{options.out.name.removesuffix('.json')}.predictions.jsonl") if options.out else None
    )
    for path in (options.out, predictions):
        if path is not None and path.exists():
            raise InputError(f"{path}: this exists, and nothing is overwritten. Name another with --out.")
    if options.out is not None:
        check_writable(options.out)
    adapter = Adapter.load(options.adapter) if options.adapter is not None else None
    taught = Taught.beside(options.adapter) if options.adapter is not None else None
    context = read_context(options)
    task = load_rows(options, None)
    if options.icl is not None:
        check_demonstrations(task, options.icl)
    model = load_model(options.model, dtype=options.dtype, device=options.device, progress=progress)
    task, notes = fit_labels(task, model, options, taught)
    demonstrations: tuple[Shown, ...] = (context,) if context is not None else ()
    examples = task.evaluation or task.pool
    if taught is not None and taught.weights != weights_id(model):
        notes += ("The adapter was taught on other weights than this model's, so that it may do anything.",)
    if taught is not None and len(unseen := taught.unseen(examples)) < len(examples):
        notes += (f"{len(examples) - len(unseen)} rows that taught the adapter or chose it are left out.",)
        examples = unseen
    if options.icl is not None:
        few_shot_set = FewShotSet.draw(task, options.icl, options.seed)
        demonstrations, examples = few_shot_set.demonstrations(), few_shot_set.evaluation
    every, examples = examples, task.at_most(examples, options.limit)
    if not examples:
        reason = "the adapter has seen them all" if adapter else "use fewer demonstrations (--icl)"
        raise InputError(f"{task.name}: no row is left to evaluate; {reason}.")
    method = "context" if context else "icl" if demonstrations else "adapter" if adapter else "zero-shot"
    chosen = f"{len(examples)} of " if len(examples) < len(every) else ""
    for sentence in (*notes, f"{task.name}: {method} on {chosen}{_counted(every, 'row')}"):
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
            "prompt_tokens": (getattr(adapter.configuration, "num_virtual_tokens", 0) if adapter is not None else 0)
            + PromptTokenizer.of(model, task).mean_prompt_tokens(examples, [demonstrations] * len(examples)),
        },
        seconds={"evaluate": round(progress.seconds["evaluate"], 3)},
        options={"label_scoring": options.label_scoring},
        notes=(*model.notes, *notes),
    )
    show([record.as_json()])
    if options.out is not None and predictions is not None:
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
    if options.cluster is None:
        check_sets(experiment, options.data_dir)
    store = Store(options.out)
    settings: dict[str, Any] = {"data_dir": options.data_dir, "limit": options.limit, "progress": progress}
    settings["tracking"] = Tracking.of(options.track, experiment.name, options.out)
    store.open(experiment, options.limit)
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
    report = StudyReport.of(options.folder, with_paper=options.paper)
    if options.out is None and options.format != "html":
        sys.stdout.write(report.text(options.format))
        return
    for path in report.write(options.out or options.folder / "report", options.format):
        print(path)


def describe_set(few_shot_set: FewShotSet) -> str:
    """One line on what is trained and measured."""
    return (
        f"{few_shot_set.task.name}: N = {few_shot_set.n}, {_counted(few_shot_set.dev, 'dev row')}, "
        f"{_counted(few_shot_set.evaluation, 'evaluation row')}, seed {few_shot_set.seed}."
    )


def _counted(rows: Sequence[Any], noun: str) -> str:
    return f"{len(rows)} {noun}{'s' * (len(rows) != 1)}"


def show(records: Sequence[Mapping[str, Any]]) -> None:
    """Print the table that a command ends with."""
    stdout().print(comparison_table(records))
