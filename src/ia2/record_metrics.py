"""What a record says was measured: accuracy, calibration, scores by class, and likeness to in-context learning."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Interval = Annotated[tuple[Finite, Finite], Field(strict=False)]
"""The lower and the upper bound, which JSON has as a list."""
Count = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A part of a record; what it holds besides its fields is kept and written as well."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    def get(self, name: str, default: Any = None) -> Any:
        """A value by its key, whether it is a field or stands beside them."""
        value = getattr(self, name, None)
        return default if value is None else value


class ClassMetrics(Part):
    """How well one label is told from the others."""

    label: str
    precision: Share
    recall: Share
    f1: Share
    n: Count
    """Rows whose right answer it is."""


class Forgotten(Part):
    """A task that an adapter has nothing to do with, measured with it and without."""

    task: str
    n: Count
    accuracy: Share
    """Of the likeliest label where there are labels."""
    accuracy_without: Share


class Metrics(Part):
    """What was measured; further measures stand beside these."""

    n: Count | None = None
    """Rows that were measured; 0 where none was left."""
    accuracy: Share | None = None
    accuracy_interval: Interval | None = None
    ece: Share | None = None
    ece_interval: Interval | None = None
    ece_binning: str | None = None
    label_accuracy: Share | None = None
    """Of the likeliest label, where another token may be likelier."""
    label_accuracy_interval: Interval | None = None
    label_ece: Share | None = None
    label_ece_interval: Interval | None = None
    macro_f1: Share | None = None
    macro_f1_interval: Interval | None = None
    balanced_accuracy: Share | None = None
    balanced_accuracy_interval: Interval | None = None
    nll: Annotated[Finite, Field(ge=0)] | None = None
    """Of the right label among the labels, in nats."""
    nll_interval: Interval | None = None
    brier: Annotated[float, Field(ge=0, le=2)] | None = None
    """Among the labels: the mean over rows of the sum over labels of (p - y)²."""
    brier_interval: Interval | None = None
    temperature: Annotated[Finite, Field(gt=0)] | None = None
    """Fitted on the set's dev rows; null where these have fewer than two labels, or responses are free text."""
    scaled_ece: Share | None = None
    """Among the labels at that temperature, to be compared with `label_ece`; the same of NLL and Brier."""
    scaled_ece_interval: Interval | None = None
    scaled_nll: Annotated[Finite, Field(ge=0)] | None = None
    scaled_nll_interval: Interval | None = None
    scaled_brier: Annotated[float, Field(ge=0, le=2)] | None = None
    scaled_brier_interval: Interval | None = None
    classes: list[ClassMetrics] | None = None
    """A row for each label; null where responses are free text."""
    confusion: list[list[Count]] | None = None
    """How many rows of each right label, a list for each, were answered with each label, in the order of `classes`;
    null of more than 500 labels, whose matrix would be too large."""
    asim: Finite | None = None
    """Similarity to in-context learning, in [-1, 1]."""
    asim_interval: Interval | None = None
    asim_by_layer: list[Finite] | None = None
    asim_by_token: list[Finite] | None = None
    forgetting: list[Forgotten] | None = None
    """Of an adapter, in the record of the first task that it was measured on; so are the next three."""
    held_tokens: Count | None = None
    """Tokens of the held texts that were predicted."""
    held_log_likelihood: Finite | None = None
    """The mean over these tokens of ln p with the adapter, in nats."""
    held_log_likelihood_without: Finite | None = None
    prompt_tokens: Finite | None = None
    """Tokens of a query's prompt on average, virtual ones included."""
