"""Temperature scaling, which makes probabilities more or less confident without changing any prediction."""

import numpy as np
from jaxtyping import Float, Int

from ia2.evaluation.metrics import Array

COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of the temperature: rows that are all right would give 0, and rows that are mostly wrong ∞."""
LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""Lower bound of probabilities, in place of those rounded to 0."""
LEAST_LABELS = 2
"""Minimum number of labels among the rows: with one label, confidence between labels can't be calibrated."""


def fitted_temperature(probabilities: Float[Array, "n labels"], right: Int[Array, " n"]) -> float:
    """Return the temperature that minimises the NLL of these rows (Guo et al. 2017, section 4.2).

    Log-probabilities can stand for logits, since the two differ by a constant in each row. As a function of the
    temperature, the NLL has one minimum or none; if it has none, the nearer bound is returned.

    Args:
        probabilities: probability of each label; each row sums to 1.
        right: index of each row's right label.

    Returns:
        A temperature from 0.05 to 20.

    Raises:
        ValueError: there are no rows.

    Example:
        >>> sure = np.array([[0.01, 0.99]] * 10)  # 9 of 10 are right: ln(99) / ln(9) is 2.09
        >>> round(fitted_temperature(sure, np.array([1] * 9 + [0])), 2)
        2.09
    """
    from scipy.optimize import minimize_scalar

    if len(right) == 0:
        raise ValueError("no temperature can be fitted to no rows")

    def nll(log_temperature: float) -> float:
        shares = scaled(probabilities, float(np.exp(log_temperature)))
        return float(-np.log(np.maximum(shares[np.arange(len(right)), right], LEAST_PROBABILITY)).mean())

    bounds = float(np.log(COLDEST)), float(np.log(HOTTEST))
    minimum = minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    # the bounded search never reaches a bound, and stops anywhere on a flat function: of ties, take the nearest to 1
    candidates = sorted((float(minimum.x), 0.0, *bounds), key=abs)
    return float(np.exp(min(candidates, key=lambda candidate: round(nll(candidate), 12))))


def scaled(probabilities: Float[Array, "n labels"], temperature: float) -> Float[Array, "n labels"]:
    """Return probabilities at another temperature: softmax(ln p / temperature).

    Args:
        probabilities: probability of each label, normalised over the labels.
        temperature: above 1 flattens the distribution, below 1 sharpens it.

    Example:
        >>> scaled(np.array([[0.8, 0.2]]), 0.5).round(3).tolist()  # 0.64 to 0.04
        [[0.941, 0.059]]
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), LEAST_PROBABILITY)) / temperature
    exponentials: Array = np.exp(logits - logits.max(1, keepdims=True))
    softmax: Array = exponentials / exponentials.sum(1, keepdims=True)
    return softmax


def refusal(right: Int[Array, " n"]) -> str | None:
    """Return why a temperature can't be fitted to these rows, as the end of a sentence, or None if it can.

    Args:
        right: index of each row's right label.

    Example:
        >>> refusal(np.array([1, 1]))
        'the 2 dev rows have one label'
        >>> refusal(np.array([], dtype=int))
        'there are no dev rows'
    """
    if len(right) == 0:
        return "there are no dev rows"
    if len(set(right.tolist())) >= LEAST_LABELS:
        return None
    return f"the {len(right)} dev rows have one label" if len(right) > 1 else "there is one dev row"
