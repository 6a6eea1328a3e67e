"""What was computed for one unit and is the same for others: adapters, answers and similarities, each by its digest.

In memory it serves the units of one run: without it each set would ask the model zero-shot again. In a folder it serves
every study that is given the same one, so that tables with methods in common train each adapter once.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ia2.adapters.adapter import Adapter
from ia2.cache import folder_written_whole
from ia2.errors import InputError
from ia2.evaluation.evaluate import Evaluation
from ia2.evaluation.labels import LabelEvaluation, Prediction
from ia2.evaluation.texts import TextEvaluation
from ia2.records import versions, without_nan, write_json
from ia2.tasks.task import Task
from ia2.training.early_stopping import StageHistory
from ia2.training.plans import Trained

ADAPTERS, RESULTS = "adapters", "results"
TRAINING_FILE = "training.json"
HISTORIES = TypeAdapter(tuple[StageHistory, ...])
PREDICTIONS = TypeAdapter(tuple[Prediction, ...])


@dataclass(frozen=True)
class TrainedBefore:
    """An adapter that was trained for another unit or study."""

    trained: Trained
    dev_loss: float | None
    seconds: dict[str, float]


class SharedWork:
    """What other units need as well, in a folder or for as long as this object lives.

    Example:
        >>> work = SharedWork(Path("shared"))
        >>> work.keep_result(key_of("two and two"), {"sum": 4})
        >>> SharedWork(Path("shared")).result(key_of("two and two"))
        {'sum': 4}
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Begin with what a folder holds, or with nothing.

        Args:
            folder: where adapters and results are kept; None for memory, which keeps no adapters.
        """
        self.folder = folder
        self._results: dict[str, dict[str, Any]] = {}

    @property
    def lasts(self) -> bool:
        """Whether what is kept outlives this object, so that what a single unit needs is worth keeping too."""
        return self.folder is not None

    def result(self, key: str) -> dict[str, Any] | None:
        """What is kept under a key; None where nothing is.

        Args:
            key: a digest of all that the result depends on.

        Raises:
            InputError: a file of the folder is damaged.
        """
        if self.folder is None:
            return self._results.get(key)
        file = self._file(key)
        return _read(file) if file.exists() else None

    def keep_result(self, key: str, result: dict[str, Any]) -> None:
        """Keep a result, of values that JSON has."""
        if self.folder is None:
            self._results[key] = result
            return
        self._file(key).parent.mkdir(parents=True, exist_ok=True)
        write_json(self._file(key), result)

    def _file(self, key: str) -> Path:
        assert self.folder is not None, "results are kept in a folder"
        return self.folder / RESULTS / f"{key}.json"

    def adapter(self, key: str) -> TrainedBefore | None:
        """The adapter that is kept under a key; None where there is none.

        Raises:
            InputError: its files are damaged.
        """
        folder = self.folder / ADAPTERS / key if self.folder is not None else None
        if folder is None or not folder.is_dir():
            return None
        content = _read(folder / TRAINING_FILE)
        try:
            stages = HISTORIES.validate_python(_with_nan(content["stages"]))
            rate, loss, seconds = (content[name] for name in ("learning_rate", "dev_loss", "seconds"))
        except (KeyError, ValueError) as error:
            raise _damaged(folder / TRAINING_FILE, error) from error
        return TrainedBefore(Trained(Adapter.load(folder), rate, stages), loss, seconds)

    def keep_adapter(self, key: str, adapter: TrainedBefore) -> None:
        """Keep an adapter for others, where there is a folder."""
        if self.folder is None:
            return
        trained = adapter.trained
        with folder_written_whole(self.folder / ADAPTERS / key, replace=True) as partial:
            trained.save(partial)
            stages = without_nan([asdict(stage) for stage in trained.stages])
            values = {"learning_rate": trained.learning_rate, "dev_loss": adapter.dev_loss, "seconds": adapter.seconds}
            write_json(partial / TRAINING_FILE, {**values, "stages": stages})


def evaluation_as_json(evaluation: Evaluation) -> dict[str, Any]:
    """An evaluation as values that JSON has."""
    if isinstance(evaluation, LabelEvaluation):
        settings = {"label_scoring": evaluation.label_scoring, "labels": list(evaluation.labels)}
        return {**settings, "rows": evaluation.rows()}
    return {"answer": evaluation.kind, "rows": evaluation.rows()}


def evaluation_from_json(content: dict[str, Any]) -> Evaluation:
    """The evaluation that such values say; answers are found in texts anew."""
    if "answer" in content:
        return TextEvaluation.rescored(content["rows"], content["answer"])
    predictions = PREDICTIONS.validate_python(content["rows"])
    return LabelEvaluation(predictions, content["label_scoring"], tuple(content["labels"]))


def key_of(*parts: object) -> str:
    """A digest of all that something depends on, this software's versions included.

    Args:
        parts: values whose `repr` says all of them, the same in every process: no sets, no arrays.

    Example:
        >>> key_of("a", 1) == key_of("a", 1), key_of("a", 1) == key_of("a", 2)
        (True, False)
    """
    return hashlib.sha256(repr((parts, sorted(versions().items()))).encode()).hexdigest()


def form_of(task: Task) -> Task:
    """A task without its rows and what is only said of it: all that says how a row is asked and answered."""
    return replace(task, pool=(), evaluation=(), notes=(), description="", source="")


def _read(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no JSON object")
    except (OSError, ValueError, RecursionError) as error:
        raise _damaged(file, error) from error
    return content


def _damaged(file: Path, error: Exception) -> InputError:
    return InputError(f"{file}: this can't be read ({error}). Delete it: it is computed again.")


def _with_nan(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Stages with NaN for the losses that were no finite numbers."""

    def loss(value: float | None) -> float:
        return float("nan") if value is None else value

    return [
        {
            **stage,
            "train_losses": [loss(value) for value in stage["train_losses"]],
            "dev_losses": [(step, loss(value)) for step, value in stage["dev_losses"]],
        }
        for stage in stages
    ]
