"""The parts of a study: adapters with their sizes, tasks to be trained and measured on, and how training goes."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from ia2.adapters.kind import AdapterKind
from ia2.adapters.registry import adapter_of
from ia2.errors import InputError
from ia2.tasks.benchmarks import BENCHMARKS
from ia2.training.early_stopping import Training

TASKS = ("reviews", *BENCHMARKS)

Count = Annotated[int, Field(ge=1)]
Models = Annotated[tuple[str, ...], Field(min_length=1)]
TrainingRows = Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(min_length=1)]


class Strict(BaseModel):
    """What has no keys but its own, and doesn't change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _settings(value: Any) -> Any:
    """Adapters that are only named, as settings."""
    return [{"kind": one} if isinstance(one, str) else one for one in value] if isinstance(value, list) else value


def _apart(values: tuple[float, ...]) -> tuple[float, ...]:
    """Rates or weights that files of adapters can be told apart by."""
    named: dict[str, float] = {}
    for value in values:
        if (name := f"{value:g}") in named:
            raise ValueError(f"{named[name]} and {value} are the same in six digits, which files are named by")
        named[name] = value
    return values


Rates = Annotated[tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...], AfterValidator(_apart)]
Betas = Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], AfterValidator(_apart)]


class AdapterSettings(BaseModel):
    """A kind of adapter with its sizes, as its dataclass names them."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str

    @model_validator(mode="after")
    def _fits(self) -> "AdapterSettings":
        self.adapter  # noqa: B018 - refuses what is no adapter
        return self

    @property
    def adapter(self) -> AdapterKind:
        """The adapter."""
        try:
            return adapter_of(self.kind, self.model_extra or {})
        except InputError as error:
            raise ValueError(str(error)) from error


def _different(adapters: tuple[AdapterSettings, ...]) -> tuple[AdapterSettings, ...]:
    kinds = [one.adapter for one in adapters]
    if any(kind in kinds[:place] for place, kind in enumerate(kinds)):
        raise ValueError("an adapter is named twice")
    return adapters


Adapters = Annotated[
    tuple[AdapterSettings, ...], Field(min_length=1), BeforeValidator(_settings), AfterValidator(_different)
]


class Source(Strict):
    """A task that is trained on, and those that its adapters are measured on."""

    train: str
    """The task's name."""
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
        """A task that is only named."""
        return {"train": value} if isinstance(value, str) else value

    @field_validator("train", "evaluate")
    @classmethod
    def _known(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for name in (value,) if isinstance(value, str) else value:
            if name not in TASKS:
                raise ValueError(f"there is no task {name}; there are {', '.join(TASKS)}")
        if not isinstance(value, str) and len(set(value)) < len(value):
            raise ValueError("a task is named twice")
        return value

    @field_validator("train")
    @classmethod
    def _trainable(cls, value: str) -> str:
        if value in BENCHMARKS and BENCHMARKS[value].evaluation_only:
            raise ValueError(f"{value} only evaluates; train on another task and name it under evaluate")
        return value

    @property
    def measured(self) -> tuple[str, ...]:
        """Tasks to be measured on."""
        return self.evaluate or (self.train,)


class TrainingSettings(Strict):
    """How stages are trained; what isn't said is PROTOCOL's."""

    batch_size: Count = Training.batch_size
    epochs: Count = Training.epochs
    dev_every: Count = Training.dev_every
    patience: Count = Training.patience
    keep: Literal["best", "last"] = Training.keep
    rows_per_pass: Count | None = Training.rows_per_pass

    @property
    def training(self) -> Training:
        """The same as training takes it."""
        return Training(**self.model_dump())
