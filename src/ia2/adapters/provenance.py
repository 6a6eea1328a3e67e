"""Provenance of an adapter, stored beside it, so that it is evaluated on unseen rows, in the prompt form it learned."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from ia2.errors import FieldError, InputError
from ia2.models.load import LanguageModel
from ia2.prompting.fewshot import FewShotSet
from ia2.records import write_json
from ia2.tasks.task import Dialogue, Example, RowForm, Task
from ia2.unpacking import check_size

FILE = "taught.json"
MOST_BYTES = 2**28
"""Of that file, of which each row takes 70."""
FORM = ("form", "text_column", "max_new_tokens", "stop", "as_written")
"""Fields of a task that determine its prompts and responses, besides labels and chat."""


@dataclass(frozen=True)
class Provenance:
    """How an adapter was trained: prompt and response form, the base model's weights, and the queries it has seen."""

    labels: tuple[str, ...]
    """Labels as they follow a query, with or without a leading space; empty if responses are free text."""
    chat: bool
    """Whether queries were formatted as turns of the model's chat template."""
    weights: str | None
    """Digest of the base model's weights: the hub's commit, or the SHA-256 of the file or folder."""
    queries: frozenset[str]
    """SHA-256 of each query of the training and dev rows, and of each unlabelled one."""
    model: str | None = None
    """Name by which the base model is loaded; None for adapters of earlier versions and of models built in Python."""
    label_scoring: Literal["token", "whole", "ended"] | None = None
    """How labels are scored, `ended` including an end token after each; None for adapters of earlier versions."""
    form: RowForm = "labelled"
    """How a row became a query."""
    text_column: str | None = None
    """Column of the texts."""
    max_new_tokens: int = 1
    """Maximum length of a free-text response, in tokens."""
    stop: str | None = None
    """Text that ends a free-text response."""
    as_written: bool = False
    """Whether the rows were from a user's file, whose labels are trained with an end token."""

    @classmethod
    def by(
        cls,
        few_shot_set: FewShotSet,
        model: LanguageModel,
        label_scoring: Literal["token", "whole", "ended"] | None = None,
    ) -> "Provenance":
        """Return the provenance of adapters trained on a set, with this label scoring."""
        seen = [row.query for row in few_shot_set.train + few_shot_set.dev] + list(few_shot_set.unlabelled)
        task = few_shot_set.task
        return cls(
            task.labels,
            task.chat,
            weights_id(model),
            frozenset(_digest(query) for query in seen),
            model.name,
            label_scoring,
            **{name: getattr(task, name) for name in FORM},
        )

    def save(self, folder: Path) -> None:
        """Write it into an adapter's folder, in a file that PEFT and servers ignore."""
        write_json(folder / FILE, asdict(self) | {"queries": sorted(self.queries)})

    @classmethod
    def beside(cls, folder: Path) -> "Provenance | None":
        """Read the provenance from an adapter's folder; None for an adapter that wasn't trained with ia2.

        Raises:
            InputError: the file can't be read.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            check_size(path, MOST_BYTES)
            provenance = TypeAdapter(cls).validate_json(path.read_bytes(), strict=True)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: this file is damaged. Adapt again, or delete it.") from error
        # impossible in a task, and would lead to meaningless numbers
        labels = {label.strip() for label in provenance.labels}
        if len(labels) < len(provenance.labels) or "" in labels or provenance.max_new_tokens < 1:
            raise InputError(f"{path}: this file is damaged. Adapt again, or delete it.")
        return provenance

    def unseen(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """Return the rows that the adapter hasn't seen in training, so that they can evaluate it."""
        return tuple(
            row for row in examples if not self.queries.intersection((_digest(row.query), _digest_of_text(row.query)))
        )

    def task(self) -> Task:
        """Return a task without rows, with the prompt form of training."""
        form = {name: getattr(self, name) for name in FORM}
        return Task(name="texts", description="", source="", labels=self.labels, chat=self.chat, **form)

    def check_turns(self, chat: bool) -> None:
        """Refuse a use of the chat template that differs from training.

        Args:
            chat: whether queries are to be turns of the chat template.

        Raises:
            FieldError: training was different.
        """
        if chat != self.chat:
            rule = "without; leave it out." if chat else "with it, so it must be asked for here too."
            raise FieldError("chat", None, f"this adapter was trained {rule}")

    def in_form(self, task: Task) -> Task:
        """Return a user's task with its labels in the adapter's form.

        Raises:
            InputError: the task has other labels, or responses of another kind.
        """
        kinds = {"label": "labels", "text": "free text"}
        trained_kind = "label" if self.labels else "text"
        if trained_kind != task.response_kind:
            raise InputError(
                f"{task.name}: responses are {kinds[task.response_kind]} here, but the adapter was trained on "
                f"{kinds[trained_kind]}. Use rows like those, or set the response kind to {trained_kind}."
            )
        if not self.labels:
            return task
        formed = task if any(label.startswith(" ") for label in self.labels) else task.with_spaceless_labels()
        if unknown := sorted(set(formed.labels).difference(self.labels)):
            known = ", ".join(label.strip() for label in self.labels)
            raise InputError(
                f"{task.name}: the label {unknown[0].strip()!r} is not among those the adapter was trained on: {known}."
            )
        return replace(formed, labels=self.labels)


def weights_id(model: LanguageModel) -> str | None:
    """Return an identifier of a model's weights: commit or checksum, and quantisation, which changes the weights."""
    weights = model.identity.revision or model.identity.sha256
    return f"{weights} {model.identity.quantisation}" if weights and model.identity.quantisation else weights


def _digest(query: str) -> str:
    """Return the digest of a query: of its text, or of the turns of a dialogue."""
    if isinstance(query, Dialogue):
        return _digest_of_text(json.dumps([[turn.role, turn.content] for turn in query.turns]))
    return _digest_of_text(query)


def _digest_of_text(text: str) -> str:
    """Return the digest of a text; adapters of earlier versions store it for dialogues, too."""
    return hashlib.sha256(text.encode()).hexdigest()
