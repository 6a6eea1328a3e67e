"""The checkpoint of a stage in training, from which a run that was interrupted continues in the middle of the stage."""

import json
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxtyping import Float
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ia2.cache import shown_size, written_whole
from ia2.errors import InputError
from ia2.progress import Progress
from ia2.training.early_stopping import StoppingState

SECONDS_BETWEEN = 120.0
"""Seconds of training between two checkpoints of an unfinished stage."""
SHARE_OF_DISK = 0.1
"""Largest share of the free disk that the checkpoint of an unfinished stage takes."""

Sections = tuple[tuple[str, ...], ...]
"""Names of a bank's tensors in the order of its values, as in `Bank.sections`."""

STOPPING = TypeAdapter(list[StoppingState])


@dataclass(frozen=True)
class StageState:
    """A stage between two steps; training continues from it to the same bytes as without an interruption."""

    stopping: Sequence[StoppingState]
    """Early stopping of each job."""
    numbers: Sequence[int]
    """Indices of the unfinished jobs, in the order of the values."""
    values: Float[Tensor, "unfinished values"]
    mean: Float[Tensor, "unfinished values"]
    """Adam's first moments."""
    square: Float[Tensor, "unfinished values"]
    """Adam's second moments."""
    best: Mapping[int, Float[Tensor, " values"]]
    """Values at the best dev evaluation so far, by job; none while no dev loss was finite."""
    sections: Sections
    """What each column of the values is."""

    @property
    def steps(self) -> int:
        """Steps that each unfinished adapter has taken."""
        return self.stopping[self.numbers[0]].step


class StageCheckpoint:
    """The file that holds an unfinished stage, replaced every few minutes of training.

    Example:
        >>> StageCheckpoint(Path("stage.safetensors")).load(sections=()) is None
        True
    """

    def __init__(self, file: Path) -> None:
        """Store an unfinished stage in a file, which is created by the first `save`."""
        self.file = file
        self._next = time.perf_counter() + SECONDS_BETWEEN

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is old enough to be replaced."""
        return time.perf_counter() >= self._next

    def save(self, state: StageState, progress: Progress) -> None:
        """Replace the stored state atomically; if it would take too much of the disk, say so and store nothing."""
        begun = time.perf_counter()
        tensors = {"values": state.values, "mean": state.mean, "square": state.square}
        tensors |= {f"best {number}": values for number, values in state.best.items()}
        size, free = sum(tensor.nbytes for tensor in tensors.values()), free_disk(self.file)
        if size > SHARE_OF_DISK * free:
            progress.say(
                f"The checkpoint of this stage would take {shown_size(size)} of {shown_size(free)} on the disk, so it "
                "isn't written: an interrupted run resumes from the stage's beginning."
            )
            self._next = float("inf")
            return
        described = {
            "stopping": [asdict(job) for job in state.stopping],
            "numbers": state.numbers,
            "sections": state.sections,
        }
        metadata = {name: json.dumps(value) for name, value in described.items()}
        with written_whole(self.file) as partial:
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, partial, metadata)
        # slow disks get fewer checkpoints, which take at most a twentieth of the time
        ended = time.perf_counter()
        self._next = ended + max(SECONDS_BETWEEN, 20 * (ended - begun))

    def load(self, sections: Sections) -> StageState | None:
        """Return the stored state, or None if there is none.

        Args:
            sections: names of the tensors in the bank that continues.

        Raises:
            InputError: the checkpoint is damaged, or its values are in another order, as another version of the code
                had them.
        """
        if not self.file.exists():
            return None
        tensors, metadata = read_checkpoint(self.file)
        try:
            stopping = STOPPING.validate_python(json.loads(metadata["stopping"]))
            stored = tuple(tuple(names) for names in json.loads(metadata["sections"]))
            best = {int(name.split()[1]): values for name, values in tensors.items() if name.startswith("best")}
            moments = tensors["values"], tensors["mean"], tensors["square"]
            state = StageState(stopping, json.loads(metadata["numbers"]), *moments, best, stored)
        except (ValueError, KeyError, TypeError) as error:
            raise unreadable(self.file, error) from error
        if stored != sections:
            raise unreadable(self.file, ValueError("another version of ia2 wrote it"))
        return state

    def delete(self) -> None:
        """Delete the file once the stage is done."""
        self.file.unlink(missing_ok=True)


def free_disk(file: Path) -> int:
    """Return the free bytes on a file's disk; its folder may not exist yet."""
    return shutil.disk_usage(next(folder for folder in file.absolute().parents if folder.exists())).free


def read_checkpoint(file: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return a checkpoint's tensors and metadata; InputError if it is damaged."""
    try:
        with safe_open(file, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise unreadable(file, error) from error


def unreadable(file: Path, error: Exception) -> InputError:
    """Return the error to raise for a damaged checkpoint."""
    return InputError(f"{file}: this checkpoint can't be read ({error}). Delete it.")
