"""Temperature scaling: one number that makes all probabilities surer or less sure, and no answer another one."""

import numpy as np
from jaxtyping import Float, Int

from ia2.evaluation.metrics import Array

COLDEST, HOTTEST = 0.05, 20.0
"""Between these a temperature is sought: rows that are all right would have it 0, rows that are mostly wrong ∞."""
LEAST_PROBABILITY = float(np.finfo(np.float32).tiny)
"""What a probability that was rounded to 0 counts as."""
LEAST_LABELS = 2
"""Rows of fewer labels say nothing of how sure answers should be between labels."""


def fitted_temperature(probabilities: Float[Array, "n labels"], right: Int[Array, " n"]) -> float:
    """The temperature at which these rows have the least NLL (Guo et al. 2017, section 4.2).

    The NLL of log-probabilities over a temperature is that of logits, since the two differ by a constant in each row.
    As a function of the temperature it has one minimum or none, and the nearer bound is given where it has none.

    Args:
        probabilities: of each label among them; a row's sum to 1.
        right: the index of each row's right label.

    Returns:
        A number from 0.05 to 20.

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
    inside = minimize_scalar(nll, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    # the search stops short of a bound, and of a flat function anywhere: of what is equally good the nearest to 1
    candidates = sorted((float(inside.x), 0.0, *bounds), key=abs)
    return float(np.exp(min(candidates, key=lambda candidate: round(nll(candidate), 12))))


def scaled(probabilities: Float[Array, "n labels"], temperature: float) -> Float[Array, "n labels"]:
    """Probabilities at another temperature: the softmax of their logarithms over it.

    Args:
        probabilities: of each label among them.
        temperature: over 1 makes them more alike, under 1 less.

    Example:
        >>> scaled(np.array([[0.8, 0.2]]), 0.5).round(3).tolist()  # 0.64 to 0.04
        [[0.941, 0.059]]
    """
    logits = np.log(np.maximum(probabilities.astype(np.float64), LEAST_PROBABILITY)) / temperature
    odds: Array = np.exp(logits - logits.max(1, keepdims=True))
    shares: Array = odds / odds.sum(1, keepdims=True)
    return shares


def refusal(right: Int[Array, " n"]) -> str | None:
    """Why these rows can't tell a temperature, as the end of a sentence; None where they can.

    Args:
        right: the index of each row's right label.

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
