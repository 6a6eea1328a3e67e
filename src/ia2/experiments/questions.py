"""Questions of a study about pairs of methods: equivalence within bounds, and the claims of a paper."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ia2.experiments.schema_parts import Strict

Measured = Literal[
    "accuracy",
    "ece",
    "label_ece",
    "scaled_ece",
    "nll",
    "scaled_nll",
    "brier",
    "scaled_brier",
    "macro_f1",
    "balanced_accuracy",
    "asim",
    "overlap",
]
"""Measures in which two methods can be compared: a metric of records, or the overlap of their adapters' subspaces."""
Pair = tuple[str, str]
"""The names of two methods."""
Bound = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Equivalence(Strict):
    """Two methods tested for equivalence within bounds."""

    methods: Pair
    within: Annotated[Mapping[Literal["accuracy", "ece"], Bound], Field(min_length=1)]
    """How far apart they may be in each measure: accuracy in points, ECE in [0, 1]."""


class Claim(Strict):
    """A claim about pairs of methods: the first one's measures are higher or lower, or equal within bounds."""

    claim: Annotated[str, Field(min_length=1)]
    """What reports call it."""
    question: str = ""
    """The same as a question, which stands above its table."""
    methods: Annotated[tuple[Pair, ...], Field(min_length=1)]
    """The pairs; the claim is on the first less the second."""
    higher: tuple[Measured, ...] = ()
    """Measures of which the first method is claimed to have more."""
    lower: tuple[Measured, ...] = ()
    """Measures of which it is claimed to have less."""
    within: Mapping[Measured, Bound] = {}
    """How far apart the two may be in each measure: accuracies and F1 in points. That of `overlap` is how far the
    overlap of the two methods' subspaces may be from that of random ones."""

    @model_validator(mode="after")
    def _says_something(self) -> "Claim":
        directed = (*self.higher, *self.lower)
        if bool(directed) == bool(self.within):
            raise ValueError(
                f"{self.claim}: say either in which measures the first method is higher or lower, or within which "
                "bounds the two are equal"
            )
        if len(set(directed)) < len(directed):
            raise ValueError(f"{self.claim}: a measure is named twice")
        # Holm's correction would count the same comparison twice
        if len(set(map(frozenset, self.methods))) < len(self.methods):
            raise ValueError(f"{self.claim}: a pair of methods is named twice")
        if "overlap" in directed:
            raise ValueError(f"{self.claim}: overlap is of two methods together; say within")
        return self


def pair_of(entry: Pair | Equivalence) -> Pair:
    """Return the two methods of an entry of `compare`."""
    return entry.methods if isinstance(entry, Equivalence) else entry


def bounds_of(entry: Pair | Equivalence) -> Mapping[str, float]:
    """Return the equivalence bounds of an entry of `compare`, by measure; empty if it has none."""
    return {str(measure): bound for measure, bound in entry.within.items()} if isinstance(entry, Equivalence) else {}
