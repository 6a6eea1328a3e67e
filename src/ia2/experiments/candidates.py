"""A unit's trained adapters, and the selection of one per method by dev loss."""

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
    """A trained adapter and its plan."""

    planned: Planned
    trained: Trained
    dev_loss: float | None
    """Loss on the dev rows, by which candidates are compared; None if training diverged."""
    seconds: Mapping[str, float]
    """Seconds of training, and of the teacher pass if the method needs targets."""
    key: str
    """Cache key: a digest of everything the adapter depends on."""
    tried: tuple["Candidate", ...] = ()
    """All candidates of its method, itself included, if it was selected among them; else empty."""

    def as_record(self) -> dict[str, Any]:
        """Return this candidate's entry in a record's list of those tried."""
        return {"lr": self.trained.learning_rate, "beta": self.planned.method.beta, "dev_loss": self.dev_loss}


def chosen(candidates: Iterable[Candidate], progress: Progress) -> list[Candidate]:
    """Return the candidate with the lowest dev loss of each method, with all others in `tried` and their training time.

    Raises:
        FieldError: a method diverged at every learning rate.
    """
    groups: dict[tuple[str, str | None], list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        groups[candidate.planned.method.name, candidate.planned.label_source].append(candidate)
    selected = []
    for (name, _), tried in groups.items():
        converged = [candidate for candidate in tried if candidate.dev_loss is not None]
        diverged_rates = sorted({candidate.planned.learning_rate for candidate in tried if candidate.dev_loss is None})
        rates = ", ".join(f"{rate:g}" for rate in diverged_rates)
        if not converged:
            raise FieldError("learning_rate", rates, f"{name} diverged, and there is no other rate. Use a smaller one.")
        if diverged_rates:
            progress.say(f"{name} diverged at learning rate {rates}, which is left out.")
        winner = min(converged, key=lambda candidate: candidate.dev_loss or 0.0)
        training = sum(candidate.seconds["train"] for candidate in tried)
        selected.append(replace(winner, seconds={**winner.seconds, "train": training}, tried=tuple(tried)))
    return selected
