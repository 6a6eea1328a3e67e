from collections import Counter
from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest import approx

from ia2.errors import FieldError
from ia2.prompting.drawing import (
    drawing_of,
    drawn_at_random,
    drawn_by_class,
    in_proportion,
    nested_at_random,
    nested_by_class,
)
from ia2.tasks.task import Example


def pool_of(counts, order=None):
    rows = [Example(f"{label}{index}", label) for label, count in counts.items() for index in range(count)]
    if order is not None:
        Random(order).shuffle(rows)
    return rows


def classes(pool, indices):
    return dict(Counter(pool[index].response for index in indices))


@st.composite
def draws(draw):
    """A pool with classes of any size, in any order, and how many rows are drawn from it."""
    counts = draw(st.lists(st.integers(1, 40), min_size=2, max_size=7).filter(lambda counts: sum(counts) >= 3))
    rows = sum(counts)
    train = draw(st.integers(2, (2 * rows + 1) // 3))
    pool = pool_of(dict(zip("abcdefg", counts, strict=False)), draw(st.integers(0, 9)))
    return pool, train, train // 2, draw(st.integers(0, 99))


@given(draws())
def test_each_class_teaches_where_there_are_rows_enough_and_else_as_many_as_can(drawn):
    pool, train, dev, seed = drawn
    teaching, checking = drawn_by_class(pool, "abcdefg", train, dev, Random(seed))
    there = {row.response for row in pool}
    assert len(classes(pool, teaching)) == min(train, len(there))
    assert (len(teaching), len(checking)) == (train, dev)
    assert len({*teaching, *checking}) == train + dev


@given(draws())
def test_where_every_share_is_a_row_or_more_all_are_within_one_row_of_the_pools(drawn):
    pool, train, dev, seed = drawn
    teaching, checking = drawn_by_class(pool, "abcdefg", train, dev, Random(seed))
    counts, taught = Counter(row.response for row in pool), classes(pool, teaching)
    if all(train * count >= len(pool) for count in counts.values()):
        assert all(abs(taught[label] - Fraction(train * counts[label], len(pool))) < 1 for label in counts)
    left = {label: counts[label] - taught.get(label, 0) for label in counts}
    checked = classes(pool, checking)
    shares = {label: Fraction(dev * left[label], sum(left.values())) for label in counts}
    assert all(abs(checked.get(label, 0) - shares[label]) < 1 for label in counts)


@given(draws())
def test_drawing_depends_on_chance_alone(drawn):
    pool, train, dev, seed = drawn
    assert drawn_by_class(pool, "abcdefg", train, dev, Random(seed)) == drawn_by_class(
        pool, "abcdefg", train, dev, Random(seed)
    )


def test_a_drawing_worked_by_hand():
    # of 100 rows 16 teach: c and d would have 0.64 and 0.32, so each gets one; the other 14 are of 80 and 14 rows,
    # 11.91 and 2.09, so 12 and 2. That leaves 68, 12, 3 and 1: 8 are 6.48, 1.14, 0.29 and 0.10, so 7, 1, 0 and 0
    pool = pool_of({"a": 80, "b": 14, "c": 4, "d": 2}, order=1)
    teaching, checking = drawn_by_class(pool, "abcd", 16, 8, Random(0))
    assert classes(pool, teaching) == {"a": 12, "b": 2, "c": 1, "d": 1}
    assert classes(pool, checking) == {"a": 7, "b": 1}


def test_where_classes_are_more_than_rows_the_largest_teach():
    pool = pool_of({"a": 2, "b": 9, "c": 3, "d": 8})
    assert classes(pool, drawn_by_class(pool, "abcd", 3, 1, Random(0))[0]) == {"b": 1, "c": 1, "d": 1}


def test_other_chance_draws_other_rows_in_another_order_and_breaks_ties():
    pool = pool_of(dict.fromkeys("abc", 20))
    sets = [drawn_by_class(pool, "abc", 4, 2, Random(seed)) for seed in range(20)]
    assert len({frozenset(teaching) for teaching, _ in sets}) == 20
    # 4 rows of 3 classes: one of them is there twice, and not always the same
    twice = {max(counts, key=counts.get) for teaching, _ in sets for counts in [classes(pool, teaching)]}
    assert twice == {"a", "b", "c"}
    # rows of a class don't stand together
    orders = {"".join(pool[index].response for index in teaching) for teaching, _ in sets}
    assert any(order != "".join(sorted(order)) for order in orders)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.data())
def test_shares_are_whole_and_no_more_than_there_are(available, data):
    rows = data.draw(st.integers(0, sum(available)))
    shares = in_proportion(available, rows, Random(0))
    assert sum(shares) == rows
    assert all(share <= count for share, count in zip(shares, available, strict=True))


def test_by_chance_each_row_is_as_likely_as_another():
    drawn = Counter(index for seed in range(2000) for index in drawn_at_random(5, 2, 1, Random(seed))[0])
    assert [drawn[index] / 2000 for index in range(5)] == approx([0.4] * 5, abs=0.05)


@settings(deadline=None)
@given(draws(), st.data())
def test_nested_sets_hold_those_of_fewer_rows_and_their_parts_share_none(drawn, data):
    pool, large, _, seed = drawn
    small = data.draw(st.integers(2, large))
    for few, many in (
        [nested_by_class(pool, "abcdefg", train, train // 2, Random(seed)) for train in (small, large)],
        [nested_at_random(len(pool), train, train // 2, Random(seed)) for train in (small, large)],
    ):
        for train, (teaching, checking) in ((small, few), (large, many)):
            assert (len(teaching), len(checking)) == (train, train // 2)
            assert len({*teaching, *checking}) == train + train // 2
        assert all({*part} <= {*whole} for part, whole in zip(few, many, strict=True))


@settings(deadline=None)
@given(draws())
def test_each_class_teaches_in_nested_sets_as_soon_as_there_are_rows_enough(drawn):
    pool, train, _, seed = drawn
    counts = Counter(row.response for row in pool)
    taught = classes(pool, nested_by_class(pool, "abcdefg", train, train // 2, Random(seed))[0])
    assert len(taught) == min(train, len(counts))
    absent = [count for label, count in counts.items() if label not in taught]
    assert min(counts[label] for label in taught) >= max(absent, default=0)


@settings(deadline=None)
@given(st.lists(st.integers(30, 90), min_size=2, max_size=5), st.integers(2, 20), st.integers(0, 9))
def test_classes_of_nested_sets_are_divided_by_sainte_lague(sizes, train, seed):
    # as the method is defined: one divisor rounds every class's share to its count, or to less than the 1 that it has
    pool = pool_of(dict(zip("abcdefg", sizes, strict=False)))
    train = max(train, len(sizes))
    taught = classes(pool, nested_by_class(pool, "abcdefg", train, train // 2, Random(seed))[0])
    counted = [(size, taught[label]) for label, size in zip("abcdefg", sizes, strict=False)]
    lowest = max(Fraction(2 * size, 2 * count + 1) for size, count in counted)
    highest = min((Fraction(2 * size, 2 * count - 1) for size, count in counted if count > 1), default=lowest)
    assert lowest <= highest, "a class that could have had the next row is further behind than one that has had it"


def test_a_nested_drawing_worked_by_hand():
    # behind one row of each class the largest quotients by 3, 5, 7, … are a's eight from 80/3 to 80/17 = 4.71, b's
    # 14/3 = 4.67, and a's 80/19, 80/21 and 80/23; of dev rows a's 80, 80/3, 80/5, b's 14, then a's 80/7 to 80/13
    pool = pool_of({"a": 80, "b": 14, "c": 4, "d": 2}, order=1)
    teaching, checking = nested_by_class(pool, "abcd", 16, 8, Random(0))
    assert classes(pool, teaching) == {"a": 12, "b": 2, "c": 1, "d": 1}
    assert classes(pool, checking) == {"a": 7, "b": 1}


def test_dev_rows_leave_the_last_row_of_a_class_to_teach():
    # the dev row of N = 2 is drawn before the third training row, which is to be of the class that has none
    pool = pool_of({"a": 4, "b": 1, "c": 1})
    for seed in range(20):
        assert classes(pool, nested_by_class(pool, "abc", 3, 1, Random(seed))[0]) == {"a": 1, "b": 1, "c": 1}


def test_a_persons_labels_are_drawn_by_class_and_built_in_tasks_by_chance(toy_task, toy_texts):
    assert drawing_of(toy_task, "auto") == "random"
    assert drawing_of(replace(toy_task, as_written=True), "auto") == "class"
    assert drawing_of(replace(toy_task, as_written=True), "random") == "random"
    assert drawing_of(toy_task, "class") == "class"
    assert drawing_of(replace(toy_texts, as_written=True), "auto") == "random"
    with pytest.raises(FieldError, match="draw class: responses of toy-texts are free text, which has no classes"):
        drawing_of(toy_texts, "class")
