"""The demo: an instruction moved into an adapter without labels, then a few labelled rows, over three sets each."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ia2.cli.demo_conclusions import instruction_conclusion, labelled_conclusion
from ia2.cli.demo_folder import FIGURES, INSTRUCTION, LABELLED, check_demo_folder
from ia2.errors import InputError
from ia2.experiments.run import run
from ia2.experiments.schema import Experiment
from ia2.experiments.shared_work import SharedWork
from ia2.experiments.store import FAILURES, Store
from ia2.models.load import LanguageModel
from ia2.progress import SILENT, Progress
from ia2.records import Record, load_records
from ia2.reports.figures.dots_over_sets import dots_over_sets
from ia2.reports.figures.reliability import save_figure
from ia2.reports.over_sets import OverSets, methods_over_sets, table_over_sets
from ia2.reports.table import Table
from ia2.tasks import reviews

MODEL = "smollm2-135m"
TASK = "reviews"
SETS = 3
TEXTS = 8
"""Unlabelled reviews used to move the instruction."""
LABELLED_ROWS = 8
"""Labelled reviews of the second part."""
LEARNING_RATE = 1e-3
ROWS = 50
"""Evaluation rows, few enough that everything takes less than five minutes on two cores."""
SIMILARITY_ROWS = 20
"""Evaluation rows on which similarity to in-context learning is measured."""
EPOCHS = 7
"""Maximum epochs over the eight rows; with the default of 50 the demo takes four times as long."""
QUICK_ROWS, QUICK_EPOCHS, QUICK_SETS = 20, 2, 2
"""Evaluation rows, maximum epochs and sets of a quick demo."""


@dataclass(frozen=True)
class Part:
    """One of the demo's two parts: a study with a title and a function that words its conclusion."""

    folder: str
    """Folder of the study inside the demo's."""
    title: str
    settings: Mapping[str, Any]
    """Settings in which the study differs from the other part's."""
    conclude: Callable[[Mapping[str, OverSets]], str]

    def study(self, seed: int = 0, *, quick: bool = False) -> Experiment:
        """Return the study.

        Args:
            seed: seed of the first set; each set has different training rows.
            quick: use few sets, evaluation rows and steps, to check that everything works, not for results.
        """
        return Experiment.model_validate(
            {
                "name": f"demo-{self.folder}",
                "description": self.title,
                "models": [MODEL],
                "tasks": [TASK],
                "sets": QUICK_SETS if quick else SETS,
                "first_seed": seed,
                "nested": False,  # there is no other N
                "learning_rates": [LEARNING_RATE],
                "rows": QUICK_ROWS if quick else ROWS,
                "asim_rows": SIMILARITY_ROWS,
                "label_scoring": "whole",
                "draw": "class",
                "training": {"epochs": QUICK_EPOCHS if quick else EPOCHS},
                "select": "dev",
                "measure": "chosen",
                **self.settings,
            }
        )


@dataclass(frozen=True)
class DemoResult:
    """Tables, conclusions and figures of the demo."""

    tables: list[Table]
    conclusions: list[str]
    """Conclusion of each table."""
    figures: list[Path]


def compute_demo(
    folder: Path,
    *,
    seed: int = 0,
    quick: bool = False,
    load: Callable[[str], LanguageModel] | None = None,
    progress: Progress = SILENT,
) -> DemoResult:
    """Compute the missing units of both studies, and plot the results.

    Args:
        folder: output folder for records, predictions, adapters and figures.
        seed: seed of the first set of rows.
        quick: use few sets, evaluation rows and steps, to check that everything works, not for results.
        load: loads the model by name; by default the packaged model.
        progress: receives messages and progress.

    Raises:
        InputError: the folder holds something else, or another process is computing the same.
        RuntimeError: a set couldn't be computed.
    """
    check_demo_folder(folder)
    tables, conclusions, panels, work = [], [], {}, SharedWork()
    for part in PARTS:
        progress.say(f"{part.title}.")
        records = _computed(part.study(seed, quick=quick), folder / part.folder, load, progress, work)
        measured = methods_over_sets(records, folder / part.folder)
        title = f"{part.title}: {QUICK_SETS if quick else SETS} sets, {records[0].metrics.n} rows"
        tables.append(table_over_sets(title, list(measured.values())))
        conclusions.append(part.conclude(measured))
        panels[part.title] = list(measured.values())
    figures = save_figure(dots_over_sets(panels), folder / FIGURES / "accuracy-and-calibration")
    return DemoResult(tables, conclusions, figures)


def _computed(
    experiment: Experiment,
    folder: Path,
    load: Callable[[str], LanguageModel] | None,
    progress: Progress,
    work: SharedWork,
) -> list[Record]:
    """Compute a study's missing units, and return all its records."""
    store = Store(folder)
    store.open(experiment, growing=False)
    outcome = run(experiment, store, load=load, progress=progress, work=work)
    if outcome.elsewhere:
        raise InputError(
            f"{folder}: another process is computing this. Wait for it, or name another folder with --out."
        )
    if outcome.failed:
        raise RuntimeError(f"{', '.join(outcome.failed)} failed; see {folder / FAILURES}/")
    store.tidy()
    return load_records(folder)


PARTS = (
    Part(
        INSTRUCTION,
        f"325-token instruction moved into an adapter with {TEXTS} unlabelled reviews",
        {"context": reviews.INSTRUCTION, "n": [TEXTS], "draw": "random", "methods": ["zero-shot", "context", "ia2"]},
        instruction_conclusion,
    ),
    Part(
        LABELLED,
        f"{LABELLED_ROWS} labelled reviews",
        {"n": [LABELLED_ROWS], "methods": ["zero-shot", "icl", "sft", "ia2-sft"]},
        labelled_conclusion,
    ),
)
