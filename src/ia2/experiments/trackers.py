"""Display of records in an experiment tracker: each record is a run, with losses by step and final metrics."""

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ia2.errors import InputError
from ia2.experiments.tracker_names import TrackerName
from ia2.records import Record, StageRecord


@dataclass(frozen=True)
class TrackedRun:
    """A record in the form that trackers take."""

    name: str
    group: str | None
    """Group of the run, such as a study's unit."""
    settings: Mapping[str, bool | int | float | str]
    """Configuration of the run."""
    losses: Mapping[int, Mapping[str, float]]
    """Training and dev losses of each stage, by step; steps count across stages."""
    measured: Mapping[str, float]
    """Scalar metrics."""

    @classmethod
    def of(cls, name: str, record: Record) -> "TrackedRun":
        """Return a record as a run; the part of `name` before the last slash is its group."""
        adapter = record.adapter.sizes if record.adapter is not None else {}
        settings = {
            "method": record.method,
            "model": record.model.id,
            "train": record.task.train,
            "eval": record.task.eval,
            **{"n": record.n, "seed": record.seed, "lr": record.lr},
            "adapter": adapter.get("kind"),
            **{key: adapter.get(key) for key in ("rank", "tokens")},
            **record.options.model_dump(),
        }
        metrics = {key: value for key, value in record.metrics.model_dump().items() if isinstance(value, (int, float))}
        return cls(
            name,
            name.rpartition("/")[0] or None,
            {key: value for key, value in settings.items() if isinstance(value, (bool, int, float, str))},
            _by_step(record.stages),
            {f"measured/{key}": float(value) for key, value in metrics.items()},
        )

    @property
    def last(self) -> int:
        """The last step; 0 if none was taken."""
        return max(self.losses, default=0)


def _by_step(stages: Sequence[StageRecord]) -> dict[int, dict[str, float]]:
    values: dict[int, dict[str, float]] = {}
    before = 0
    for number, stage in enumerate(stages, start=1):
        lines = {"train loss": enumerate(stage.train_losses), "dev loss": stage.dev_losses}
        for line, points in lines.items():
            for step, loss in points:
                if loss is None:  # not finite
                    continue
                values.setdefault(before + step, {})[f"stage {number}/{line}"] = float(loss)
        before += stage.steps
    return dict(sorted(values.items()))


@runtime_checkable
class Tracker(Protocol):
    """A tracker that displays runs."""

    def show(self, run: TrackedRun) -> None:
        """Show a complete run."""
        ...


class TensorBoard:
    """Event files in `tensorboard/` of a folder, one subfolder per run."""

    def __init__(self, library: Any, project: str, folder: Path) -> None:
        self.library, self.folder = library, folder / "tensorboard"

    def show(self, run: TrackedRun) -> None:
        """Write a run to an event file."""
        with self.library.SummaryWriter(str(self.folder / run.name)) as writer:
            writer.add_text("settings", f"```\n{json.dumps(run.settings, indent=2)}\n```")
            for step, values in run.losses.items():
                for name, value in values.items():
                    writer.add_scalar(name, value, step)
            writer.add_hparams(dict(run.settings), dict(run.measured), run_name=".", global_step=run.last)


class Trackio:
    """Hugging Face's tracker: a local database, which `trackio show` displays."""

    def __init__(self, library: Any, project: str, folder: Path) -> None:
        self.library, self.project = library, project

    def show(self, run: TrackedRun) -> None:
        """Write a run to the database."""
        # the run is written after the fact, so the current load of the machine says nothing about it
        quiet = {"embed": False, "auto_log_gpu": False, "auto_log_cpu": False}
        _log(self.library.init(project=self.project, **_described(run), **quiet), run)


class WandB:
    """Weights & Biases; with WANDB_MODE=offline its files go to `wandb/` of a folder."""

    def __init__(self, library: Any, project: str, folder: Path) -> None:
        self.library, self.project, self.folder = library, project, folder

    def show(self, run: TrackedRun) -> None:
        """Send a run to the service, or write its files offline."""
        quiet = self.library.Settings(silent=True, console="off", save_code=False, disable_git=True)
        _log(
            self.library.init(project=self.project, **_described(run), dir=str(self.folder), settings=quiet),
            run,
        )


def _described(run: TrackedRun) -> dict[str, Any]:
    return {"name": run.name, "group": run.group, "config": dict(run.settings)}


def _log(library_run: Any, run: TrackedRun) -> None:
    """Log a run to the run that a library has started, and finish it."""
    try:
        for step in sorted({*run.losses, run.last}):
            measured = run.measured if step == run.last else {}
            library_run.log({**run.losses.get(step, {}), **measured}, step=step)
    finally:
        library_run.finish()


LIBRARIES: dict[TrackerName, tuple[str, type[TensorBoard | Trackio | WandB]]] = {
    "trackio": ("trackio", Trackio),
    "wandb": ("wandb", WandB),
    "tensorboard": ("torch.utils.tensorboard", TensorBoard),
}


@dataclass(frozen=True)
class Tracking:
    """Shows records in a tracker, or does nothing."""

    name: str
    tracker: Tracker | None

    @classmethod
    def of(cls, name: TrackerName | None, project: str, folder: Path) -> "Tracking":
        """Return the tracking for a tracker's name.

        Args:
            name: name of the tracker; None for none.
            project: project of its runs.
            folder: folder for trackers that write files.

        Raises:
            InputError: the tracker isn't installed.
        """
        if name is None:
            return UNTRACKED
        module, kind = LIBRARIES[name]
        try:
            library = import_module(module)
        except ImportError as error:
            raise InputError(
                f"--track {name}: this tracker isn't installed. Install it: pip install 'ia2[{name}]'."
            ) from error
        return cls(name, kind(library, project, folder))

    def show(self, name: str, record: Record) -> None:
        """Show a record as a run of this name.

        Raises:
            InputError: the tracker rejects the record, for example because nobody is logged in.
        """
        if self.tracker is None:
            return
        try:
            # stdout is for results, not for a library's messages
            with redirect_stdout(sys.stderr):
                self.tracker.show(TrackedRun.of(name, record))
        except Exception as error:
            raise InputError(
                f"--track {self.name}: {name} was computed and its record is written, but the tracker refused it: "
                f"{' '.join(str(error).split()) or type(error).__name__}"
            ) from error


UNTRACKED = Tracking("none", None)
