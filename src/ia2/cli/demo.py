"""The demo: a real model learns a small task from eight reviews, every way there is, with a table and a picture."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ia2.experiments.schema import Experiment
from ia2.experiments.single import compute_single
from ia2.models.load import LanguageModel
from ia2.progress import SILENT, Progress
from ia2.records import Record
from ia2.reports.figures.reliability import reliability_and_similarity
from ia2.tasks.json_lines import json_lines

MODEL = "smollm2-135m"
TASK = "reviews"
N = 8
LEARNING_RATE = 1e-3
ROWS = 200
"""How many of the task's rows are evaluated, so that everything takes less than five minutes on two cores."""
QUICK_ROWS, QUICK_EPOCHS = 40, 2
"""What a quick demo evaluates and trains at the most."""


@dataclass(frozen=True)
class DemoResult:
    """What the demo measured and drew."""

    records: list[Record]
    figures: list[Path]


def demo_study(seed: int = 0, *, quick: bool = False) -> Experiment:
    """Zero-shot, ICL, SFT, IA2 and IA2→SFT on one set.

    Args:
        seed: which set of 8 rows.
        quick: few evaluation rows and few steps: a check that everything works, not a result.
    """
    return Experiment.model_validate(
        {
            "name": "demo",
            "description": f"{N} reviews teach {MODEL} in every way there is",
            "models": [MODEL],
            "tasks": [TASK],
            "n": [N],
            "sets": 1,
            "first_seed": seed,
            "nested": False,  # there is no other N
            "methods": ["zero-shot", "icl", "sft", "ia2", "ia2-sft"],
            "learning_rates": [LEARNING_RATE],
            "rows": QUICK_ROWS if quick else ROWS,
            "training": {"epochs": QUICK_EPOCHS} if quick else {},
            "select": "dev",
            "measure": "chosen",
        }
    )


def compute_demo(
    folder: Path,
    *,
    seed: int = 0,
    quick: bool = False,
    load: Callable[[str], LanguageModel] | None = None,
    progress: Progress = SILENT,
) -> DemoResult:
    """Measure every way and draw reliability and similarity by layer.

    Args:
        folder: where records, predictions, adapters and figures go.
        seed: which set of 8 rows.
        quick: few evaluation rows and few steps: a check that everything works, not a result.
        load: how the model is loaded, usually the packaged one.
        progress: told what is going on.

    Raises:
        InputError: the folder holds something else.
    """
    records = compute_single(demo_study(seed, quick=quick), folder, load=load, progress=progress)
    predictions = {record.method: [row for _, row in json_lines(record.rows(folder))] for record in records}
    stem = folder / "figures" / "reliability-and-similarity"
    return DemoResult(records, reliability_and_similarity(records, predictions, stem))
