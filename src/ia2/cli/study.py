"""`ia2 run`: computation of the missing units of studies, or a dry run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ia2.cli.console import ConsoleProgress
from ia2.cli.study_options import Run
from ia2.errors import InputError
from ia2.experiments.cluster import run_on_cluster
from ia2.experiments.overlap import adapters_in_common
from ia2.experiments.plan import check_sets
from ia2.experiments.plan_totals import described
from ia2.experiments.run import run
from ia2.experiments.schema import Experiment
from ia2.experiments.shared_work import SharedWork
from ia2.experiments.store import FAILURES, Store
from ia2.experiments.study_file import load_experiment
from ia2.experiments.token_estimate import described_tokens
from ia2.experiments.trackers import Tracking
from ia2.models.names import check_model_name
from ia2.progress import Progress


def run_studies(options: Run) -> int:
    """Compute the missing units of one study after another, or describe them. Returns 1 if a unit failed."""
    experiments = _loaded(options.experiment)
    for experiment in experiments:
        for sentence in described(experiment):
            print(sentence)
        if options.dry_run:
            print(described_tokens(experiment, options.data_dir, options.limit))
    if len(experiments) > 1:
        every, different = adapters_in_common(experiments)
        print(
            f"Together: {every} adapters, {different} of them different; with --store, each of these is trained once."
        )
    if options.dry_run:
        return 0
    assert options.out is not None, "Run has checked that there is a folder"
    folders = {
        experiment.name: options.out / experiment.name if len(experiments) > 1 else options.out
        for experiment in experiments
    }
    progress = ConsoleProgress()
    for experiment in experiments:
        Store(folders[experiment.name]).check(experiment, options.limit)
        if options.cluster is None:
            for sentence in check_sets(experiment, options.data_dir):
                progress.say(sentence)
    statuses = [_computed(experiment, folders[experiment.name], options, progress) for experiment in experiments]
    return max(statuses)


def _loaded(paths: tuple[Path, ...]) -> list[Experiment]:
    """Load the studies of these files. Raises InputError, also if two studies have the same name."""
    file_of: dict[str, Path] = {}
    experiments = []
    for path in paths:
        experiment = load_experiment(path)
        if path in file_of.values():
            raise InputError(f"{path}: this study is given twice. Give it once.")
        if (other := file_of.setdefault(experiment.name, path)) != path:
            raise InputError(f"{path}: {other} is also called {experiment.name}. Rename one of them.")
        for model in experiment.all_models:
            check_model_name(model)
        experiments.append(experiment)
    return experiments


def _computed(experiment: Experiment, folder: Path, options: Run, progress: Progress) -> int:
    """Compute a study's missing units. Returns 1 if a unit failed."""
    store, work = Store(folder), SharedWork(options.store)
    settings: Mapping[str, Any] = {
        "data_dir": options.data_dir,
        "limit": options.limit,
        "progress": progress,
        "tracking": Tracking.of(options.track, experiment.name, folder),
        "work": work,
    }
    store.open(experiment, options.limit)
    if options.cluster is None:
        outcome = run(experiment, store, **settings)
    else:
        outcome = run_on_cluster(experiment, store, options.cluster, **settings)
    unit_counts = [f"{outcome.done} units computed"]
    unit_counts += [f"{outcome.before} already done"] * bool(outcome.before)
    unit_counts += [f"{outcome.elsewhere} left to another process"] * bool(outcome.elsewhere)
    unit_counts += [f"{len(outcome.failed)} failed (see {folder / FAILURES}/)"] * bool(outcome.failed)
    print(f"{folder}/: {', '.join(unit_counts)}.")
    return 1 if outcome.failed else 0
