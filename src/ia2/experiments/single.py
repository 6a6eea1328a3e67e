"""Computation of a study of a single unit, such as an adaptation; a finished one is reused."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ia2.errors import InputError
from ia2.experiments.loading import load_for
from ia2.experiments.plan import Unit, units
from ia2.experiments.run import run
from ia2.experiments.schema import Experiment
from ia2.experiments.store import Store
from ia2.experiments.trackers import UNTRACKED, Tracking
from ia2.experiments.unit_rows import unit_rows
from ia2.models.load import LanguageModel
from ia2.progress import SILENT, Progress
from ia2.prompting.fewshot import FewShotSet
from ia2.records import Record, load_records


def compute_single(
    experiment: Experiment,
    folder: Path,
    *,
    data_dir: Path | None = None,
    load: Callable[[str], LanguageModel] | None = None,
    progress: Progress = SILENT,
    tracking: Tracking = UNTRACKED,
) -> list[Record]:
    """Compute a study of one unit into a folder, unless it is there already.

    An error or an interrupt leaves nothing in the folder. If the process is killed, the same call resumes.

    Args:
        experiment: the study.
        folder: output folder; absent, empty, or with a part of the same study.
        data_dir: a folder of benchmark files instead of the hub.
        load: loads the model by name; by default with the study's settings.
        progress: receives the phases, and messages about choices made.
        tracking: shown the records.

    Returns:
        The records, in the order of the study's methods.

    Raises:
        InputError: the folder holds something else, the study can't be computed, or another process is computing it.
    """
    (unit,) = units(experiment)
    store = Store(folder)
    store.check(experiment, growing=False)
    if store.is_done(unit):
        progress.say(f"{folder}/: already complete, so nothing is computed.")
    else:
        model = load(unit.model) if load is not None else load_for(experiment, unit.model, progress=progress)
        rows = unit_rows(experiment, unit, model, data_dir=data_dir)
        for sentence in (*rows.notes, _described(rows.few_shot_set)):
            progress.say(sentence)
        with _abandoned_when_stopped(store, unit):
            store.open(experiment, growing=False)
            outcome = run(
                experiment,
                store,
                data_dir=data_dir,
                load=lambda _name: model,
                progress=progress,
                tracking=tracking,
                single=True,
            )
        if outcome.elsewhere:
            raise InputError(
                f"{folder}: another process is computing this. Wait for it, or name another folder with --out."
            )
    store.tidy()
    return ordered_records(experiment, load_records(folder, unit.id))


def ordered_records(experiment: Experiment, records: list[Record]) -> list[Record]:
    """Return records in the order of a study's methods."""
    order: list[tuple[str, str | None]] = [(name, None) for name in experiment.baselines]
    order += [(method.name, source) for source, method in experiment.fitted_methods]
    return sorted(records, key=lambda record: order.index((record.method, record.options.label_source)))


@contextmanager
def _abandoned_when_stopped(store: Store, unit: Unit) -> Iterator[None]:
    """Remove what was written, plan included, if an error or a signal ends the block before there is a record."""
    try:
        yield
    except BaseException:
        with store.claimed(unit) as claimed:
            if claimed:  # otherwise another process is computing it and owns the folder
                store.abandon()
        raise


def _described(few_shot_set: FewShotSet) -> str:
    """Describe the set in one line: N, dev and evaluation rows, seed."""
    return (
        f"{few_shot_set.task.name}: N = {few_shot_set.n}, {_counted(len(few_shot_set.dev), 'dev row')}, "
        f"{_counted(len(few_shot_set.evaluation), 'evaluation row')}, seed {few_shot_set.seed}."
    )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"
