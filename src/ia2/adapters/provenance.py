"""Provenance of an adapter, kept beside it: it is measured on rows that it hasn't seen, in the form that it learned."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from ia2.errors import FieldError, InputError
from ia2.models.load import LanguageModel
from ia2.prompting.fewshot import FewShotSet
from ia2.records import write_json
from ia2.tasks.task import Dialogue, Example, RowForm, Task

FILE = "taught.json"
FORM = ("form", "text_column", "max_new_tokens", "stop", "as_written")
"""The fields of a task that say how its rows are asked, beside labels and chat."""


@dataclass(frozen=True)
class Provenance:
    """How an adapter was trained: the form of its responses, the base model's weights, the queries that it has seen."""

    labels: tuple[str, ...]
    """As they follow a query, with or without a space; none where responses are free text."""
    chat: bool
    """Whether queries were turns of the model's chat template."""
    weights: str | None
    """Digest of the base model's weights: the hub's commit, or the SHA-256 of the file or folder."""
    queries: frozenset[str]
    """SHA-256 of each query of the training and dev rows, and of each unlabelled one."""
    model: str | None = None
    """What the base model is loaded by; None for adapters of earlier versions and of models built in Python."""
    label_scoring: Literal["token", "whole", "ended"] | None = None
    """How its labels compete, `ended` with the end token behind each; None for adapters of earlier versions."""
    form: RowForm = "labelled"
    """How a row became a query."""
    text_column: str | None = None
    """The column that held the texts."""
    max_new_tokens: int = 1
    """How long a response of free text may get."""
    stop: str | None = None
    """The text that ends a response of free text."""
    as_written: bool = False
    """Whether the rows were a person's own, whose labels are taught to end."""

    @classmethod
    def by(
        cls,
        few_shot_set: FewShotSet,
        model: LanguageModel,
        label_scoring: Literal["token", "whole", "ended"] | None = None,
    ) -> "Provenance":
        """The provenance of adapters that are trained on a set, whose labels compete in this way."""
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
        """Write it into an adapter's folder, where PEFT and servers pass it over."""
        write_json(folder / FILE, asdict(self) | {"queries": sorted(self.queries)})

    @classmethod
    def beside(cls, folder: Path) -> "Provenance | None":
        """The provenance in an adapter's folder; None for an adapter that wasn't trained here.

        Raises:
            InputError: it can't be read.
        """
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            provenance = TypeAdapter(cls).validate_json(path.read_bytes(), strict=True)
        except (OSError, ValidationError) as error:
            raise InputError(f"{path}: this file is damaged. Adapt again, or delete it.") from error
        # what no task can have, and would end in numbers that mean nothing
        labels = {label.strip() for label in provenance.labels}
        if len(labels) < len(provenance.labels) or "" in labels or provenance.max_new_tokens < 1:
            raise InputError(f"{path}: this file is damaged. Adapt again, or delete it.")
        return provenance

    def unseen(self, examples: Sequence[Example]) -> tuple[Example, ...]:
        """The rows that may measure it."""
        return tuple(
            row for row in examples if not self.queries.intersection((_digest(row.query), _digest_of_text(row.query)))
        )

    def task(self) -> Task:
        """A task without rows, of which texts are asked as they were taught."""
        form = {name: getattr(self, name) for name in FORM}
        return Task(name="texts", description="", source="", labels=self.labels, chat=self.chat, **form)

    def check_turns(self, chat: bool) -> None:
        """Refuse to ask it in another way than it was taught.

        Args:
            chat: whether queries are to be turns of the chat template.

        Raises:
            FieldError: it was taught otherwise.
        """
        if chat != self.chat:
            rule = "without; leave it out." if chat else "with it, so it must be asked for here too."
            raise FieldError("chat", None, f"this adapter was trained {rule}")

    def in_form(self, task: Task) -> Task:
        """The rows of a person's file with the labels of the adapter.

        Raises:
            InputError: they have other labels, or responses of another kind.
        """
        kinds = {"label": "labels", "text": "free text"}
        taught_kind = "label" if self.labels else "text"
        if taught_kind != task.response_kind:
            raise InputError(
                f"{task.name}: responses are {kinds[task.response_kind]} here, but the adapter was trained on "
                f"{kinds[taught_kind]}. Use rows like those, or set the response kind to {taught_kind}."
            )
        if not self.labels:
            return task
        formed = task if any(label.startswith(" ") for label in self.labels) else task.with_spaceless_labels()
        if strange := sorted(set(formed.labels).difference(self.labels)):
            known = ", ".join(label.strip() for label in self.labels)
            raise InputError(
                f"{task.name}: the label {strange[0].strip()!r} is not among those the adapter was trained on: {known}."
            )
        return replace(formed, labels=self.labels)


def weights_id(model: LanguageModel) -> str | None:
    """What a model's weights are told by: those of the same checkpoint are others once they are quantised."""
    weights = model.identity.revision or model.identity.sha256
    return f"{weights} {model.identity.quantisation}" if weights and model.identity.quantisation else weights


def _digest(query: str) -> str:
    """Of what tells a query apart: its text, or the turns of a dialogue."""
    if isinstance(query, Dialogue):
        return _digest_of_text(json.dumps([[turn.role, turn.content] for turn in query.turns]))
    return _digest_of_text(query)


def _digest_of_text(text: str) -> str:
    """Of a text, which is what adapters of earlier versions keep of a dialogue too."""
    return hashlib.sha256(text.encode()).hexdigest()
