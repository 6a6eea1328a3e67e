"""The demo: a real model learns a small task from eight reviews, every way there is, with a table and a picture."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ia2.experiments.adaptation import Adaptation, Settings
from ia2.models.load import LanguageModel
from ia2.progress import SILENT, Progress
from ia2.prompting.fewshot import FewShotSet
from ia2.reports.figures.reliability import reliability_and_similarity
from ia2.tasks.task import Task
from ia2.training.early_stopping import Training
from ia2.training.methods import IA2, IA2_THEN_SFT, SFT

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

    records: list[dict[str, Any]]
    figures: list[Path]


def measure_everything(
    model: LanguageModel,
    task: Task,
    folder: Path,
    *,
    seed: int = 0,
    quick: bool = False,
    progress: Progress = SILENT,
) -> DemoResult:
    """Measure zero-shot, ICL, SFT, IA2 and IA2→SFT on one set and draw reliability and similarity by layer.

    Args:
        model: the model, usually the packaged one.
        task: the task, usually the built-in reviews.
        folder: where records, predictions, adapters and figures go; it must exist.
        seed: which set of 8 rows.
        quick: few evaluation rows and few steps: a check that everything works, not a result.
        progress: told what is going on.
    """
    few_shot_set = FewShotSet.draw(task, N, seed).limited(QUICK_ROWS if quick else ROWS)
    training = Training(epochs=QUICK_EPOCHS) if quick else Training()
    settings = Settings(learning_rates=(LEARNING_RATE,), training=training)
    notes = (*model.notes, *task.notes)
    adaptation = Adaptation(model, few_shot_set, settings, folder, notes=notes, progress=progress)
    adaptation.measure_baseline("zero-shot", ())
    adaptation.measure_baseline("icl", few_shot_set.demonstrations())
    adaptation.measure_methods({method: f"adapters/{method.name}" for method in (SFT, IA2, IA2_THEN_SFT)})
    (folder / "figures").mkdir()
    stem = folder / "figures" / "reliability-and-similarity"
    figures = reliability_and_similarity(adaptation.records, adaptation.predictions, stem)
    return DemoResult(adaptation.records, figures)
