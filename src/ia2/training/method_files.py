"""Methods defined in a YAML file: stages with their objectives, responses, layers and learning rates."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ia2.errors import FieldError, InputError
from ia2.models.sequences import Where
from ia2.models.sites import Site, SiteName
from ia2.training.early_stopping import checked_count
from ia2.training.layer_weights import Layers
from ia2.training.method_names import checked_method_name
from ia2.training.methods import (
    METHODS,
    WITHOUT_TRAINING,
    LabelSource,
    Method,
    Stage,
    StageRowsChoice,
    checked_learning_rate,
)
from ia2.training.objectives import Align, AlignAndMatch, AlignmentError, MatchDistribution, MatchTokens, checked_beta
from ia2.yaml_files import read_yaml

MAX_VALUE_LENGTH = 60
# wording of pydantic's error types for users
PYDANTIC_MESSAGES = {
    "tuple_type": "this must be a list, such as [a, b]",
    "list_type": "this must be a list, such as [a, b]",
    "model_type": "this must be a mapping of keys to values",
    "model_attributes_type": "this must be a mapping of keys to values",
    "dict_type": "this must be a mapping of keys to values",
}


Rate = Annotated[float, AfterValidator(checked_learning_rate)]
Beta = Annotated[float, AfterValidator(checked_beta)]


def _checked_steps_of(name: str) -> str:
    method = METHODS[checked_method_name(name)]
    if method.tries_betas or any(stage.steps_of for stage in method.stages):
        raise FieldError("steps_of", name, "this tries several β, or takes another method's steps. Name another one.")
    return name


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _AnyStage(_Strict):
    """Options of every stage."""

    labels: LabelSource = "icl-response"
    rows: StageRowsChoice = "all"
    learning_rate: Rate | None = None
    epochs: Annotated[int, AfterValidator(partial(checked_count, "epochs"))] | None = None

    def stage(self) -> Stage:
        """Return the described stage."""
        raise NotImplementedError


class _Aligning(_AnyStage):
    """Options of stages that align."""

    site: SiteName = "attention-output"
    positions: Where = "response"
    error: AlignmentError = "mse"
    layers: str | int = "all"
    weights: tuple[float, ...] = ()

    @property
    def align(self) -> Align:
        """The described alignment."""
        return Align(Site(self.site, self.positions), self.error, Layers(str(self.layers), self.weights))


class _Align(_Aligning):
    # `align-attention` is the name in studies of version 0.1, which can still be read
    objective: Literal["align", "align-attention"]
    solved: bool = False

    def stage(self) -> Stage:
        return Stage(self.align, self.labels, self.learning_rate, self.epochs, self.solved, self.rows)


class _MatchTokens(_AnyStage):
    objective: Literal["match-tokens"]
    labels: LabelSource = "ground-truth"
    smoothing: float = 0.0
    steps_of: Annotated[str, AfterValidator(_checked_steps_of)] | None = None

    def stage(self) -> Stage:
        steps_of = METHODS[self.steps_of].stages if self.steps_of is not None else ()
        return Stage(
            *(MatchTokens(self.smoothing), self.labels, self.learning_rate, self.epochs),
            rows=self.rows,
            steps_of=steps_of,
        ).fine_tuned_on(self.labels)


class _MatchDistribution(_AnyStage):
    objective: Literal["match-distribution"]
    top: int | None = None

    def stage(self) -> Stage:
        return Stage(MatchDistribution(self.top), self.labels, self.learning_rate, self.epochs, rows=self.rows)


class _AlignAndMatch(_Aligning):
    objective: Literal["align-and-match"]
    beta: Beta
    match: Literal["tokens", "distribution"] = "tokens"
    smoothing: float = 0.0
    top: int | None = None

    def stage(self) -> Stage:
        if self.match == "tokens" and self.top is not None:
            raise FieldError("top", self.top, "this goes with match: distribution.")
        if self.match == "distribution" and self.smoothing:
            raise FieldError("smoothing", self.smoothing, "this goes with match: tokens.")
        match = MatchTokens(self.smoothing) if self.match == "tokens" else MatchDistribution(self.top)
        return Stage(
            *(AlignAndMatch(self.beta, self.align, match), self.labels, self.learning_rate, self.epochs), rows=self.rows
        )


_Stage = Annotated[_Align | _MatchTokens | _MatchDistribution | _AlignAndMatch, Field(discriminator="objective")]


class _Description(_Strict):
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9+_.-]*$")]
    description: str = "described in a file"
    stages: Annotated[list[_Stage], Field(min_length=1)]


def load_method(path: Path) -> Method:
    """Read a method from a YAML file.

    Raises:
        InputError: the file doesn't exist, isn't YAML, or doesn't describe a valid method.
    """
    return method_of(read_description(path), f"--method {path}")


def read_description(path: Path) -> Any:
    """Return the parsed YAML content of a method file.

    Raises:
        InputError: the file doesn't exist, or isn't YAML.
    """
    try:
        return read_yaml(path).content
    except OSError as error:
        raise InputError(f"--method {path}: this file can't be read ({error.strerror}).") from error
    except ValueError as error:  # includes UnicodeDecodeError
        raise InputError(f"--method {path}: this is not valid YAML ({error}).") from error


def method_of(content: object, where: str) -> Method:
    """Return the method that a YAML mapping describes.

    Args:
        content: the mapping.
        where: prefix of error messages, which names the source.

    Raises:
        InputError: the mapping doesn't describe a valid method.
    """
    try:
        described = _Description.model_validate(content)
        if described.name.lower() in (*METHODS, *WITHOUT_TRAINING):
            raise InputError(f"name: {described.name} is taken; results of this method need a name of their own.")
        return Method(described.name, described.description, tuple(stage.stage() for stage in described.stages))
    except ValidationError as error:
        raise InputError(
            "\n".join(f"{where}: {issue_sentence(issue)}" for issue in error.errors(include_url=False))
        ) from error
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def issue_sentence(issue: Mapping[str, Any]) -> str:
    """Return a pydantic validation error as a sentence with its location, rule and value."""
    broken = field_error(issue)
    location = ".".join(map(str, issue_location(issue))) or "the whole file"
    # a missing key's error holds the whole object that lacks it
    if broken.value is None or issue["type"] == "missing":
        return f"{location}: {broken.rule}"
    shown = broken.shown if len(broken.shown) <= MAX_VALUE_LENGTH else f"{broken.shown[:MAX_VALUE_LENGTH]}…"
    return f"{location}: {broken.rule.removesuffix('.')} (given: {shown})."


def issue_location(issue: Mapping[str, Any]) -> tuple[str | int, ...]:
    """Return the location of a pydantic validation error, including the field that a check of a whole object names."""
    location: tuple[str | int, ...] = issue["loc"]
    error = issue.get("ctx", {}).get("error")
    if isinstance(error, FieldError) and not {error.field, f"{error.field}s"}.intersection(location):
        return (*location, error.field)
    return location


def field_error(issue: Mapping[str, Any]) -> FieldError:
    """Convert a pydantic validation error to an error of the innermost named field."""
    names = [str(part) for part in issue_location(issue) if isinstance(part, str)]
    error = issue.get("ctx", {}).get("error")
    if isinstance(error, FieldError):
        return FieldError(names[-1], error.value, error.rule)
    value = (
        issue["input"] if isinstance(issue["input"], str | int | float | bool | None) else type(issue["input"]).__name__
    )
    message = PYDANTIC_MESSAGES.get(issue["type"], issue["msg"].removeprefix("Value error, "))
    return FieldError(names[-1] if names else "", value, f"{message[0].lower()}{message[1:].rstrip('.')}.")
