import math

import pytest

from ia2.errors import InputError
from ia2.training.layer_weights import Layers


@pytest.mark.parametrize(
    ("which", "chosen"),
    [
        ("0", [0]),
        ("1-3", [1, 2, 3]),
        ("0, 3-4", [0, 3, 4]),
        ("every 2", [0, 2, 4]),
        ("every 3", [1, 4]),
        ("every 9", [4]),
    ],
)
def test_layers_are_counted_from_0_and_ranges_hold_both_ends(which, chosen):
    weights = Layers(which).weights(5)
    assert weights is not None
    assert [layer for layer, weight in enumerate(weights) if weight] == chosen


def test_all_layers_count_the_same_unless_weights_say_otherwise():
    assert Layers().weights(4) is None
    assert Layers(weight=(1.0, 0.0, 2.0)).weights(3) == (1, 0, 2)
    assert Layers("1-2", (1.0, 3.0, 2.0)).weights(3) == (0, 3, 2)


@pytest.mark.parametrize(
    ("which", "weight", "message"),
    [
        ("some", (), "use all, a range such as 8-20, or every 2"),
        ("3-", (), "use all"),
        ("5", (), "the model has layers 0 to 4"),
        ("every 0", (), "use all, a range such as 8-20, or every 2"),
        ("all", (1.0, 2.0), "2 weights were given, and the model has 5 layers"),
    ],
)
def test_layers_that_there_are_not_are_refused(which, weight, message):
    with pytest.raises(InputError, match=message):
        Layers(which, weight).weights(5)


@pytest.mark.parametrize(
    ("which", "weight", "message"),
    [
        ("4-2", (), "layers '4-2': the range 4-2 ends before it begins. Say 2-4"),
        ("5, 8-3", (), "layers '5, 8-3': the range 8-3 ends before it begins. Say 3-8"),
        ("all", (1.0, -2.0), "must be finite and not negative"),
        ("all", (1.0, math.nan), "must be finite and not negative"),
        ("all", (math.inf, 1.0), "must be finite and not negative"),
        ("all", (0.0, 0.0), "none of these layers has a weight above 0"),
        ("1-2", (1.0, 0.0, 0.0), "none of these layers has a weight above 0"),
    ],
)
def test_layers_that_make_no_sense_for_any_model_are_refused_at_once(which, weight, message):
    with pytest.raises(InputError, match=message):
        Layers(which, weight)
