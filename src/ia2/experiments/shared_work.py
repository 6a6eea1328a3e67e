"""Cache of results that several units or studies share: adapters, evaluations and similarities, by digest.

In memory it serves the units of one run, which would otherwise repeat the zero-shot evaluation for each set. In a
folder it serves every study that is given that folder, so that tables with methods in common train each adapter once.
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
    """A cached adapter, with its dev loss and seconds by phase."""

    trained: Trained
    dev_loss: float | None
    seconds: dict[str, float]


class SharedWork:
    """Cache of shared results, in a folder or in memory.

    Example:
        >>> work = SharedWork(Path("shared"))
        >>> work.keep_result(key_of("two and two"), {"sum": 4})
        >>> SharedWork(Path("shared")).result(key_of("two and two"))
        {'sum': 4}
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Open the cache of a folder, or an empty one in memory.

        Args:
            folder: where adapters and results are stored; None for memory, which stores no adapters.
        """
        self.folder = folder
        self._results: dict[str, dict[str, Any]] = {}

    @property
    def lasts(self) -> bool:
        """Whether the cache outlives this object, so that results that only one unit needs are worth storing."""
        return self.folder is not None

    def result(self, key: str) -> dict[str, Any] | None:
        """Return the result of a cache key; None if there is none.

        Args:
            key: digest of everything the result depends on (`key_of`).

        Raises:
            InputError: the file of the result is damaged.
        """
        if self.folder is None:
            return self._results.get(key)
        file = self._file(key)
        return _read(file) if file.exists() else None

    def keep_result(self, key: str, result: dict[str, Any]) -> None:
        """Store a result of JSON values under a cache key."""
        if self.folder is None:
            self._results[key] = result
            return
        self._file(key).parent.mkdir(parents=True, exist_ok=True)
        write_json(self._file(key), result)

    def _file(self, key: str) -> Path:
        assert self.folder is not None, "results are kept in a folder"
        return self.folder / RESULTS / f"{key}.json"

    def adapter(self, key: str) -> TrainedBefore | None:
        """Return the adapter of a cache key; None if there is none.

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
        """Store an adapter under a cache key; in memory, do nothing."""
        if self.folder is None:
            return
        trained = adapter.trained
        with folder_written_whole(self.folder / ADAPTERS / key, replace=True) as partial:
            trained.save(partial)
            stages = without_nan([asdict(stage) for stage in trained.stages])
            values = {"learning_rate": trained.learning_rate, "dev_loss": adapter.dev_loss, "seconds": adapter.seconds}
            write_json(partial / TRAINING_FILE, {**values, "stages": stages})


def evaluation_as_json(evaluation: Evaluation) -> dict[str, Any]:
    """Return an evaluation as JSON values."""
    if isinstance(evaluation, LabelEvaluation):
        settings = {"label_scoring": evaluation.label_scoring, "labels": list(evaluation.labels)}
        return {**settings, "rows": evaluation.rows()}
    return {"answer": evaluation.kind, "rows": evaluation.rows()}


def evaluation_from_json(content: dict[str, Any]) -> Evaluation:
    """Return the evaluation of such values; answers are extracted from generated texts again."""
    if "answer" in content:
        return TextEvaluation.rescored(content["rows"], content["answer"])
    predictions = PREDICTIONS.validate_python(content["rows"])
    return LabelEvaluation(predictions, content["label_scoring"], tuple(content["labels"]))


def key_of(*parts: object) -> str:
    """Return a cache key: the digest of everything a result depends on, software versions included.

    Args:
        parts: values whose `repr` is complete and the same in every process: no sets, no arrays.

    Example:
        >>> key_of("a", 1) == key_of("a", 1), key_of("a", 1) == key_of("a", 2)
        (True, False)
    """
    return hashlib.sha256(repr((parts, sorted(versions().items()))).encode()).hexdigest()


def form_of(task: Task) -> Task:
    """Return a task without rows and descriptions: only what determines its prompts and scoring."""
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
    """Return stages with NaN for the losses that JSON stores as null."""

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
