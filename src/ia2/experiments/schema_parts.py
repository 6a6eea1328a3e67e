"""Parts of a study's schema: adapters with their sizes, methods with their label source, tasks with their rows."""

from collections.abc import Iterable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ia2.adapters.kind import AdapterKind
from ia2.adapters.registry import adapter_of
from ia2.errors import FieldError, InputError
from ia2.models.names import path_of
from ia2.prompting.drawing import checked_n
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.tasks.files import ResponseKind
from ia2.tasks.files.encodings import checked_encoding
from ia2.tasks.files.hub import is_hub_name
from ia2.tasks.files.registry import source_name
from ia2.training.early_stopping import checked_count
from ia2.training.method_files import Beta, Rate, method_of
from ia2.training.methods import METHODS, LabelSource, Method
from ia2.training.objectives import MatchTokens

TASKS = ("reviews", *BENCHMARKS)

Count = Annotated[int, Field(ge=1)]
Models = Annotated[tuple[str, ...], Field(min_length=1)]
TrainingRows = Annotated[tuple[Annotated[int, AfterValidator(checked_n)], ...], Field(min_length=1)]


class Strict(BaseModel):
    """Base of frozen models that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _absolute(path: Path) -> Path:
    return path if is_hub_name(path) else path_of(path).absolute()


File = Annotated[Path, AfterValidator(_absolute)]
"""Absolute path of a user's file, independent of the working directory, or name of a hub dataset."""


def _expanded(value: Any) -> Any:
    """Turn adapters given by name only into settings."""
    if not isinstance(value, list):
        return value
    return [{"kind": adapter} if isinstance(adapter, str) else adapter for adapter in value]


def _distinguishable(values: tuple[float, ...]) -> tuple[float, ...]:
    """Refuse rates or weights that adapter file names can't tell apart."""
    named: dict[str, float] = {}
    for value in values:
        if (name := f"{value:g}") in named:
            raise ValueError(f"{named[name]} and {value} are the same in six digits, which files are named by")
        named[name] = value
    return values


Rates = Annotated[tuple[Rate, ...], AfterValidator(_distinguishable)]
Betas = Annotated[tuple[Beta, ...], AfterValidator(_distinguishable)]


class AdapterSettings(BaseModel):
    """An adapter kind with its sizes, named as in its dataclass."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str

    @model_validator(mode="after")
    def _fits(self) -> "AdapterSettings":
        self.adapter  # noqa: B018 - raises for an unknown kind or bad sizes
        return self

    @property
    def adapter(self) -> AdapterKind:
        """The adapter kind with these sizes."""
        return adapter_of(self.kind, self.model_extra or {})


def _distinct(adapters: tuple[AdapterSettings, ...]) -> tuple[AdapterSettings, ...]:
    kinds = [settings.adapter for settings in adapters]
    if any(kind in kinds[:index] for index, kind in enumerate(kinds)):
        raise ValueError("an adapter is named twice")
    return adapters


Adapters = Annotated[
    tuple[AdapterSettings, ...], Field(min_length=1), BeforeValidator(_expanded), AfterValidator(_distinct)
]


class MethodSettings(Strict):
    """A method with a label source of its own, which replaces the study's `label_sources`."""

    method: str | dict[str, Any]
    """A name, or a description as in a method's own file."""
    label_source: LabelSource

    @model_validator(mode="after")
    def _fits(self) -> "MethodSettings":
        method = method_described(self.method)
        if not any(isinstance(stage.objective, MatchTokens) for stage in method.stages):
            raise FieldError("label_source", self.label_source, f"{method.name} has no stage that fits tokens.")
        return self


def method_described(entry: str | dict[str, Any]) -> Method:
    """Return the method of an entry, which is a name or a description as in a method's own file.

    Raises:
        ValueError: the name is unknown, or the description invalid.
    """
    if isinstance(entry, dict):
        try:
            return method_of(entry, "")
        except InputError as error:
            raise ValueError(str(error).removeprefix(": ")) from error
    if entry not in METHODS:
        raise ValueError(f"there is no method {entry}; choose from {', '.join(METHODS)}")
    return METHODS[entry]


class Draw(NamedTuple):
    """The seeds of a unit."""

    seed: int
    """Seed of the rows, and by default of everything else."""
    start: int | None = None
    """Seed of the adapters' initial values, if separate."""
    order: int | None = None
    """Seed of the orders of demonstrations and training rows, if separate."""


class Seeds(Strict):
    """Numbers of sets of rows, of initial values and of orders, with separate seeds."""

    rows: Count
    """Sets of training and dev rows; their seeds count from the first one's."""
    start: Count = 1
    """Starting values of adapters for each set of rows."""
    order: Count = 1
    """Orders of demonstrations and of training rows for each of both."""


def draws_of(rows: Iterable[int], seeds: Seeds | None) -> tuple[Draw, ...]:
    """Return the seeds of the units of one model, task and N.

    Args:
        rows: seeds of the sets of rows.
        seeds: numbers of starting values and orders per set of rows, if they have separate seeds.

    Example:
        >>> [tuple(draw) for draw in draws_of([3, 4], Seeds(rows=2, start=2))]
        [(3, 0, 0), (3, 1, 0), (4, 0, 0), (4, 1, 0)]
    """
    if seeds is None:
        return tuple(map(Draw, rows))
    return tuple(Draw(*seed_triple) for seed_triple in product(rows, range(seeds.start), range(seeds.order)))


class Rows(Strict):
    """Row settings of a task: the file they come from, unlabelled texts, and how responses end."""

    data: File | None = None
    """Labelled rows instead of a built-in task: a CSV, TSV, JSON, JSONL, Parquet or Excel file, a folder of
    save_to_disk, or hf:owner/name of the hub."""
    text: str | None = None
    """The file's column of texts, where it can't be guessed; a nested one as `data.body`."""
    label: str | None = None
    """The file's column of labels, where it can't be guessed."""
    eval_data: File | None = None
    """A second file with the same columns to evaluate; without it, the rows that training leaves over are evaluated."""
    response_kind: ResponseKind | None = None
    """Whether the file's responses are labels or free text."""
    encoding: Annotated[str, AfterValidator(checked_encoding)] | None = None
    """The encoding of text files, where it can't be detected."""
    unlabelled: File | None = None
    """A file of more texts for the teacher to answer, without labels."""
    unlabelled_rows: Count | None = None
    """So many rows of the task's own, without their labels, for the teacher to answer: of those that neither teach,
    choose nor are measured."""
    orders: Annotated[int, AfterValidator(partial(checked_count, "orders"))] = 1
    """In how many orders of the demonstrations it answers each of them."""
    max_new_tokens: Annotated[int, AfterValidator(partial(checked_count, "max_new_tokens"))] | None = None
    """How long a response of free text may get."""
    teacher_tokens: Annotated[int, AfterValidator(partial(checked_count, "teacher_tokens"))] | None = None
    """The most tokens of free text that the teacher writes; by default the paper's 200 for a built-in task, and else as
    many as a response may get."""
    stop: str | None = None
    """A text or special token that ends a response of free text."""

    @model_validator(mode="after")
    def _consistent(self) -> "Rows":
        if self.data is None:
            for name in ("text", "label", "response_kind", "encoding"):
                if (value := getattr(self, name)) is not None:
                    raise FieldError(name, value, "a built-in task has its own columns and responses.")
            if self.eval_data is not None:
                raise FieldError("eval_data", self.eval_data, "this goes with data; a built-in task has its own rows.")
        if self.orders > 1 and self.unlabelled is None and self.unlabelled_rows is None:
            raise FieldError("orders", self.orders, "this goes with unlabelled.")
        if self.unlabelled is not None and self.unlabelled_rows is not None:
            raise FieldError("unlabelled_rows", self.unlabelled_rows, "texts come from the file under unlabelled.")
        if self.stop == "":
            raise FieldError(
                "stop", None, "an empty text would end every response at once. Leave it out, or give a text."
            )
        return self

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that these settings name."""
        return tuple(path for path in (self.data, self.eval_data, self.unlabelled) if path is not None)


class Source(Rows):
    """A training task, and the tasks on which its adapters are evaluated."""

    train: str
    """The task's name; a file's is by default its own without the ending."""
    evaluate: tuple[str, ...] = ()
    """Tasks to be measured on; by default the same one. Others than that are out of distribution."""
    models: Models | None = None
    """Instead of the study's."""
    n: TrainingRows | None = None
    """Instead of the study's."""
    adapters: Adapters | None = None
    """Instead of the study's."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        """Expand a task given by name only, and name a task after its file if it has no name."""
        if isinstance(value, str):
            return {"train": value}
        if isinstance(value, dict) and isinstance(value.get("data"), str | Path) and "train" not in value:
            return {**value, "train": source_name(value["data"])}
        return value

    @field_validator("train", "evaluate")
    @classmethod
    def _known(cls, value: str | tuple[str, ...], info: Any) -> str | tuple[str, ...]:
        file = info.data.get("data") is not None
        trained = value if isinstance(value, str) else info.data.get("train")
        for name in (value,) if isinstance(value, str) else value:
            if name not in TASKS and not (file and name == trained):
                raise ValueError(f"there is no task {name}; choose from {', '.join(TASKS)}")
        if not isinstance(value, str) and len(set(value)) < len(value):
            raise ValueError("a task is named twice")
        return value

    @field_validator("train")
    @classmethod
    def _trainable(cls, value: str, info: Any) -> str:
        if info.data.get("data") is not None:
            if "/" in value or not value:
                raise ValueError(f"{value!r} can't be a task's name, which files are named by")
        elif value in BENCHMARKS and BENCHMARKS[value].evaluation_only:
            raise ValueError(f"{value} only evaluates; train on another task and name it under evaluate")
        return value

    @property
    def measured(self) -> tuple[str, ...]:
        """Tasks to evaluate."""
        return self.evaluate or (self.train,)

    @property
    def rows(self) -> Rows:
        """Row settings of the training task."""
        return Rows.model_construct(**{name: getattr(self, name) for name in Rows.model_fields})


def best_of(order: str) -> int | None:
    """Return how many orders of the demonstrations are tried; None for a random order.

    Raises:
        FieldError: `order` is neither random nor best-of-K.

    Example:
        >>> best_of("best-of-8")
        8
    """
    if order == "random":
        return None
    count = order.removeprefix("best-of-")
    if count == order or not count.isdecimal() or int(count) < 2:
        raise FieldError("order", order, "use random, or best-of-K with K of 2 or more, such as best-of-8.")
    return int(count)


Select = Literal["accuracy", "evaluated", "dev"]
Measure = Literal["all", "chosen"]
