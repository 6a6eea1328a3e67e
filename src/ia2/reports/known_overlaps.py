"""Stores computed subspace overlaps next to a study's plan, so that they outlive the adapters."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ia2.analysis.subspace import Overlap
from ia2.errors import InputError
from ia2.records import write_json

FILE = "overlaps.json"
"""File name, next to the study's plan."""
Paths = tuple[str, str]
"""Paths of two adapters relative to the study's folder, which stay valid if it is moved or copied."""


@dataclass(frozen=True)
class KnownOverlap:
    """The subspace overlap of two adapters' updates."""

    by_layer: Mapping[int, float]
    """Mean over a layer's modules, in [0, 1], by layer index from 0."""
    mean: float
    """Mean over modules and layers."""
    of_random: float
    """Expected overlap of random subspaces of the same dimensions."""

    @classmethod
    def of(cls, overlap: Overlap) -> "KnownOverlap":
        """Return the parts of an overlap that are stored."""
        return cls(overlap.by_layer, overlap.mean, overlap.mean_of_random)


def overlaps_as_json(overlaps: Mapping[Paths, KnownOverlap]) -> list[dict[str, Any]]:
    """Return overlaps as JSON values, sorted by the adapters' paths."""
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
    """Parse overlaps from JSON values.

    Raises:
        KeyError, TypeError, ValueError: the values are invalid.
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
    """Read the overlaps stored in a study's folder; empty if none were computed yet.

    Raises:
        InputError: the file can't be read.
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
    """Store overlaps in a study's folder.

    Raises:
        InputError: the folder isn't writable.
        OSError: writing fails.
    """
    write_json(folder / FILE, {"overlaps": overlaps_as_json(overlaps)})
