"""Overlaps of adapters' subspaces that were computed once, kept beside a study's plan to outlive the adapters."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ia2.analysis.subspace import Overlap
from ia2.errors import InputError
from ia2.records import write_json

FILE = "overlaps.json"
"""Beside a study's plan."""
Paths = tuple[str, str]
"""Where two adapters lie, relative to the study's folder, so that a folder that was moved or copied knows its own."""


@dataclass(frozen=True)
class KnownOverlap:
    """How much of two adapters' updates lies in the same directions."""

    by_layer: Mapping[int, float]
    """The mean over modules of each layer, counted from 0; in [0, 1]."""
    mean: float
    """Over modules and layers."""
    of_random: float
    """What random subspaces of the same dimensions would share."""

    @classmethod
    def of(cls, overlap: Overlap) -> "KnownOverlap":
        """What is kept of an overlap."""
        return cls(overlap.by_layer, overlap.mean, overlap.mean_of_random)


def overlaps_as_json(overlaps: Mapping[Paths, KnownOverlap]) -> list[dict[str, Any]]:
    """Overlaps as values that JSON has, in the order of the adapters' paths."""
    return [
        {
            "first": first,
            "second": second,
            "by_layer": {str(layer): value for layer, value in overlap.by_layer.items()},
            "mean": overlap.mean,
            "of_random": overlap.of_random,
        }
        for (first, second), overlap in sorted(overlaps.items())
    ]


def overlaps_from_json(values: Iterable[Mapping[str, Any]]) -> dict[Paths, KnownOverlap]:
    """The overlaps that such values say.

    Raises:
        KeyError, TypeError, ValueError: they say none.
    """
    return {
        (str(value["first"]), str(value["second"])): KnownOverlap(
            {int(layer): float(share) for layer, share in value["by_layer"].items()},
            float(value["mean"]),
            float(value["of_random"]),
        )
        for value in values
    }


def read_overlaps(folder: Path) -> dict[Paths, KnownOverlap]:
    """The overlaps that a study's folder knows; none where none was computed yet.

    Raises:
        InputError: their file can't be read.
    """
    file = folder / FILE
    if not file.exists():
        return {}
    try:
        return overlaps_from_json(json.loads(file.read_text(encoding="utf-8"))["overlaps"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{file}: this can't be read ({type(error).__name__}: {error}). Delete it: it is computed again of the "
            "adapters that are there."
        ) from error


def write_overlaps(folder: Path, overlaps: Mapping[Paths, KnownOverlap]) -> None:
    """Keep overlaps in a study's folder.

    Raises:
        InputError: the folder can't be written to.
        OSError: what is written there doesn't arrive.
    """
    write_json(folder / FILE, {"overlaps": overlaps_as_json(overlaps)})
