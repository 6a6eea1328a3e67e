import math
import random
import statistics

import pytest

from ia2.analysis.variance import variance_split

TWO_BY_THREE = {(0, 0): 1.0, (0, 1): 3.0, (0, 2): 2.0, (1, 0): 5.0, (1, 1): 5.0, (1, 2): 8.0}


def test_two_rows_and_three_starts_worked_by_hand():
    # means of rows 2 and 6, of starts 3, 4 and 5, of all 4. Sums of squares: rows 3 x (4 + 4) = 24, starts
    # 2 x (1 + 0 + 1) = 4, all 9 + 1 + 4 + 1 + 1 + 16 = 32, so the rest 4. Mean squares: 24, 2 and 4/2 = 2
    split = variance_split(TWO_BY_THREE, ("rows", "start"))
    assert split.residual == pytest.approx(2.0)
    assert split.components == pytest.approx({"rows": (24 - 2) / 3, "start": 0.0})
    assert split.total == pytest.approx(28 / 3)
    assert split.shares == pytest.approx({"rows": 22 / 28, "start": 0.0, "residual": 6 / 28})


def test_a_factor_of_one_level_has_no_component():
    with_order = {(*key, 7): value for key, value in TWO_BY_THREE.items()}
    assert variance_split(with_order, ("rows", "start", "order")) == variance_split(TWO_BY_THREE, ("rows", "start"))


def test_names_of_levels_and_a_shift_make_no_difference():
    moved = {(row + 5, 10 - start): value + 100 for (row, start), value in TWO_BY_THREE.items()}
    assert variance_split(moved, ("rows", "start")).components == pytest.approx(
        variance_split(TWO_BY_THREE, ("rows", "start")).components
    )


def test_estimates_of_simulated_effects_are_right_on_average():
    chance = random.Random(0)
    sizes, deviations = (6, 4, 5), {"rows": 3.0, "start": 1.0, "order": 2.0, "residual": 1.5}
    estimates = {name: [] for name in deviations}
    for _ in range(600):
        effects = [
            [chance.gauss(0, deviation) for _ in range(size)]
            for size, deviation in zip(sizes, deviations.values(), strict=False)
        ]
        values = {
            (row, start, order): effects[0][row] + effects[1][start] + effects[2][order] + chance.gauss(0, 1.5)
            for row in range(6)
            for start in range(4)
            for order in range(5)
        }
        split = variance_split(values, ("rows", "start", "order"))
        for name, value in {**split.components, "residual": split.residual}.items():
            estimates[name].append(value)
    for name, drawn in estimates.items():
        error = statistics.stdev(drawn) / math.sqrt(len(drawn))
        # cut off at 0 the smallest is a little too large, by less than this
        assert statistics.fmean(drawn) == pytest.approx(deviations[name] ** 2, abs=4 * error), name


def test_of_values_that_do_not_vary_there_are_no_shares():
    split = variance_split(dict.fromkeys(TWO_BY_THREE, 0.5), ("rows", "start"))
    assert (split.total, split.shares) == (0.0, None)


@pytest.mark.parametrize(
    ("values", "what"),
    [
        ({(0, 0): 1.0, (0, 1): 2.0, (1, 0): 3.0}, "3 values of 4 combinations of levels can't be split"),
        ({(0, 0): 1.0, (1, 0): 2.0}, "a variance split needs at least two factors with several levels"),
    ],
)
def test_what_can_not_be_split_is_refused(values, what):
    with pytest.raises(ValueError, match=what):
        variance_split(values, ("rows", "start"))
