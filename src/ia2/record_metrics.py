"""The metrics of a record: accuracy, calibration, scores by class, and similarity to in-context learning."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Interval = Annotated[tuple[Finite, Finite], Field(strict=False)]
"""Lower and upper bound; a list in JSON."""
Count = Annotated[int, Field(ge=0)]


class Part(BaseModel):
    """A part of a record; extra keys besides the fields are kept and written too."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value by its key, whether it is a field or an extra key."""
        value = getattr(self, name, None)
        return default if value is None else value


class ClassMetrics(Part):
    """Classification metrics of one label."""

    label: str
    precision: Share
    recall: Share
    f1: Share
    n: Count
    """Number of rows whose right answer is this label."""


class Forgotten(Part):
    """A task unrelated to the adapter, evaluated with and without it."""

    task: str
    n: Count
    accuracy: Share
    """Accuracy with the adapter; for labels, that of the most probable label."""
    accuracy_without: Share


class Metrics(Part):
    """The metrics of an evaluation; further metrics are extra keys."""

    n: Count | None = None
    """Number of evaluated rows; 0 if none was left."""
    accuracy: Share | None = None
    accuracy_interval: Interval | None = None
    ece: Share | None = None
    ece_interval: Interval | None = None
    ece_binning: str | None = None
    label_accuracy: Share | None = None
    """Accuracy of the most probable label, although another token may be more probable."""
    label_accuracy_interval: Interval | None = None
    label_ece: Share | None = None
    label_ece_interval: Interval | None = None
    macro_f1: Share | None = None
    macro_f1_interval: Interval | None = None
    balanced_accuracy: Share | None = None
    balanced_accuracy_interval: Interval | None = None
    nll: Annotated[Finite, Field(ge=0)] | None = None
    """NLL of the right label, normalised over the labels, in nats."""
    nll_interval: Interval | None = None
    brier: Annotated[float, Field(ge=0, le=2)] | None = None
    """Brier score: the mean over rows of the sum over labels of (p - y)², with p normalised over the labels."""
    brier_interval: Interval | None = None
    temperature: Annotated[Finite, Field(gt=0)] | None = None
    """Temperature fitted on the set's dev rows; null if these have fewer than two labels, and for free text."""
    scaled_ece: Share | None = None
    """ECE among the labels at that temperature, comparable with `label_ece`; likewise for NLL and Brier."""
    scaled_ece_interval: Interval | None = None
    scaled_nll: Annotated[Finite, Field(ge=0)] | None = None
    scaled_nll_interval: Interval | None = None
    scaled_brier: Annotated[float, Field(ge=0, le=2)] | None = None
    scaled_brier_interval: Interval | None = None
    classes: list[ClassMetrics] | None = None
    """Metrics of each label; null for free text."""
    confusion: list[list[Count]] | None = None
    """Confusion matrix: for each right label, a list of counts of predicted labels, in the order of `classes`; null for
    more than 500 labels, whose matrix would be too large."""
    asim: Finite | None = None
    """Similarity to in-context learning, in [-1, 1]."""
    asim_interval: Interval | None = None
    asim_by_layer: list[Finite] | None = None
    asim_by_token: list[Finite] | None = None
    forgetting: list[Forgotten] | None = None
    """An adapter's results on unrelated tasks, in the record of its first evaluation task; likewise the next three."""
    held_tokens: Count | None = None
    """Number of predicted tokens of the held-out texts."""
    held_log_likelihood: Finite | None = None
    """Mean of ln p over these tokens with the adapter, in nats."""
    held_log_likelihood_without: Finite | None = None
    prompt_tokens: Finite | None = None
    """Mean number of tokens of a query's prompt, including virtual tokens."""
