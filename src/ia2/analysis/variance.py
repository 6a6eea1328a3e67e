"""Variance components of crossed random effects, estimated by an analysis of variance.

The levels of each factor, such as sets of rows, are a sample from many. A value is the sum of a mean, an effect of
each factor's level and a residual, all independent; the residual includes interactions (Searle, Casella and McCulloch
1992, chapter 4).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ia2.analysis.significance import ROUNDING


@dataclass(frozen=True)
class VarianceSplit:
    """The variance of a value as a sum of components, in the square of its unit."""

    components: Mapping[str, float]
    """Variance component of each factor with several levels; negative estimates are set to 0."""
    residual: float
    """Variance that no single factor explains."""

    @property
    def total(self) -> float:
        """Variance of a value at new levels of every factor."""
        return sum(self.components.values()) + self.residual

    @property
    def shares(self) -> dict[str, float] | None:
        """Each component and the residual as shares of the total; None if nothing varies."""
        if self.total == 0:
            return None
        parts = {**self.components, "residual": self.residual}
        return {name: value / self.total for name, value in parts.items()}


def variance_split(values: Mapping[tuple[int, ...], float], factors: Sequence[str]) -> VarianceSplit:
    """Estimate the variance components of values measured once at every combination of the factors' levels.

    Args:
        values: the values, by the level of each factor.
        factors: the names of the factors, in the order of the keys.

    Raises:
        ValueError: a combination of levels is missing, or fewer than two factors have several levels, so that a
            factor can't be separated from the residual.

    Example:
        >>> split = variance_split({(0, 0): 1.0, (0, 1): 2.0, (1, 0): 5.0, (1, 1): 6.0}, ("rows", "start"))
        >>> split.components, split.residual
        ({'rows': 8.0, 'start': 0.5}, 0.0)
    """
    levels = [sorted({key[position] for key in values}) for position in range(len(factors))]
    sizes = [len(of_factor) for of_factor in levels]
    count = math.prod(sizes)
    if count != len(values):
        raise ValueError(f"{len(values)} values of {count} combinations of levels can't be split")
    varying = [position for position, size in enumerate(sizes) if size > 1]
    if len(varying) < 2:
        raise ValueError("a variance split needs at least two factors with several levels each")
    table = np.empty(sizes)
    for key, value in values.items():
        table[tuple(of_factor.index(level) for of_factor, level in zip(levels, key, strict=True))] = value
    if float(np.ptp(table)) <= ROUNDING * float(np.abs(table).max()):
        return VarianceSplit({factors[position]: 0.0 for position in varying}, 0.0)
    squares, average = {}, table.mean()
    for position in varying:
        others = tuple(axis for axis in range(len(sizes)) if axis != position)
        squares[position] = count / sizes[position] * float(((table.mean(axis=others) - average) ** 2).sum())
    residual_squares = max(0.0, float(((table - average) ** 2).sum()) - sum(squares.values()))
    residual = residual_squares / (count - 1 - sum(sizes[position] - 1 for position in varying))
    components = {
        factors[position]: max(0.0, (squares[position] / (sizes[position] - 1) - residual) * sizes[position] / count)
        for position in varying
    }
    return VarianceSplit(components, residual)
