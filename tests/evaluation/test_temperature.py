from math import exp, log

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy import array
from pytest import approx
from torch.nn.functional import cross_entropy

from ia2.evaluation.temperature import COLDEST, HOTTEST, fitted_temperature, refusal, scaled


def test_the_temperature_of_alike_rows_worked_by_hand():
    # log-odds of 3 where 4 of 5 are right: NLL is least where 3 / T = ln(4)
    sure = 1 / (1 + exp(-3))
    probabilities = array([[1 - sure, sure]] * 5)
    assert fitted_temperature(probabilities, array([1, 1, 0, 1, 1])) == approx(3 / log(4), rel=1e-4)
    # answers that are too unsure are made surer
    unsure = array([[0.45, 0.55]] * 5)
    assert fitted_temperature(unsure, array([1, 1, 0, 1, 1])) == approx(log(0.55 / 0.45) / log(4), rel=1e-4)


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(6, 40))
@settings(max_examples=25, deadline=None)
def test_no_temperature_of_torch_in_double_precision_has_a_lower_nll(seed, labels, rows):
    chance = np.random.default_rng(seed)
    logits = 3 * chance.standard_normal((rows, labels))
    right = chance.integers(0, labels, rows)
    probabilities = torch.tensor(logits).softmax(-1).numpy()
    ours = fitted_temperature(probabilities, right)

    def nll(temperature):
        return cross_entropy(torch.tensor(logits) / temperature, torch.tensor(right)).item()

    tried = np.exp(np.linspace(log(COLDEST), log(HOTTEST), 2000))
    assert nll(ours) <= min(map(nll, tried)) + 1e-9


def test_rows_that_are_all_right_or_all_wrong_end_at_a_bound():
    assert fitted_temperature(array([[0.4, 0.6], [0.7, 0.3]]), array([1, 0])) == approx(COLDEST)
    assert fitted_temperature(array([[0.4, 0.6], [0.7, 0.3]]), array([0, 1])) == approx(HOTTEST)
    # where every temperature is as good, nothing is scaled
    assert fitted_temperature(array([[0.5, 0.5], [0.5, 0.5]]), array([1, 0])) == approx(1)


def test_a_probability_that_was_rounded_to_nothing_has_a_finite_loss():
    temperature = fitted_temperature(array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), array([1, 0, 0]))
    # log-odds of 87.3 where two of three are right ask for more than the bound allows
    assert temperature == approx(HOTTEST)


def test_scaling_equals_the_softmax_of_logits_over_the_temperature():
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.1, -3.0]], dtype=torch.float64)
    for temperature in (0.3, 1.0, 4.0):
        ours = scaled(logits.softmax(-1).numpy(), temperature)
        assert ours == approx((logits / temperature).softmax(-1).numpy(), abs=1e-12)
        assert (ours.argmax(1) == array([0, 1])).all()


def test_rows_that_say_nothing_of_sureness_are_refused():
    assert refusal(array([], dtype=int)) == "there are no dev rows"
    assert refusal(array([3])) == "there is one dev row"
    assert refusal(array([1, 1, 1])) == "the 3 dev rows have one label"
    assert refusal(array([1, 0])) is None
    with pytest.raises(ValueError, match="no rows"):
        fitted_temperature(np.zeros((0, 2)), array([], dtype=int))
