import pytest

from ia2.errors import InputError
from ia2.layers import Layers


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
        ("some", (), "say all, a range such as 8-20, or every 2"),
        ("3-", (), "say all"),
        ("5", (), "the model has layers 0 to 4"),
        ("4-2", (), "the model has layers 0 to 4"),
        ("every 0", (), "the model has layers 0 to 4"),
        ("all", (1.0, 2.0), "2 weights were given, and the model has 5 layers"),
        ("all", (1.0, -2.0), "must not be negative"),
    ],
)
def test_layers_that_there_are_not_are_refused(which, weight, message):
    with pytest.raises(InputError, match=message):
        Layers(which, weight).weights(5)
