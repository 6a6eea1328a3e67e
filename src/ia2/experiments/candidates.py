"""Adapters as they came out of training, and the choice among those of a method."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ia2.errors import FieldError
from ia2.experiments.plan import Planned
from ia2.progress import Progress
from ia2.training.plans import Trained


@dataclass(frozen=True)
class Candidate:
    """An adapter as it was planned and as it came out."""

    planned: Planned
    trained: Trained
    dev_loss: float | None
    """What it is compared by; None where training diverged."""
    seconds: Mapping[str, float]
    """What training took, and the teacher where it was asked."""
    key: str
    """A digest of all that it depends on, by which other units and studies know it."""
    tried: tuple["Candidate", ...] = ()
    """All those of its method that it was chosen from, itself among them; none where nothing was chosen."""

    def as_record(self) -> dict[str, Any]:
        """What a record says of one that was tried."""
        return {"lr": self.trained.learning_rate, "beta": self.planned.method.beta, "dev_loss": self.dev_loss}


def chosen(candidates: Iterable[Candidate], progress: Progress) -> list[Candidate]:
    """Of each method the one with the lowest dev loss, which knows the others and has their seconds too.

    Raises:
        FieldError: a method diverged at every learning rate.
    """
    groups: dict[tuple[str, str | None], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.planned.method.name, candidate.planned.label_source].append(candidate)
    best = []
    for (name, _), tried in groups.items():
        sound = [candidate for candidate in tried if candidate.dev_loss is not None]
        lost = sorted({candidate.planned.learning_rate for candidate in tried if candidate.dev_loss is None})
        rates = ", ".join(f"{rate:g}" for rate in lost)
        if not sound:
            raise FieldError("learning_rate", rates, f"{name} diverged, and there is no other rate. Use a smaller one.")
        if lost:
            progress.say(f"{name} diverged at learning rate {rates}, which is left out.")
        winner = min(sound, key=lambda candidate: candidate.dev_loss or 0.0)
        training = sum(candidate.seconds["train"] for candidate in tried)
        best.append(replace(winner, seconds={**winner.seconds, "train": training}, tried=tuple(tried)))
    return best
