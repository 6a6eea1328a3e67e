"""Which rows of a pool teach and which choose: any by chance, or by class, so that each class is among them."""

from collections.abc import Sequence
from random import Random
from typing import Literal

from ia2.errors import FieldError
from ia2.tasks.task import Example, Task

Drawing = Literal["class", "random"]
"""Each class at least once and then in proportion, or any rows by chance (the paper)."""
DrawingChoice = Literal["auto", "class", "random"]
"""Automatic: by class where labels are a person's own, and by chance in built-in tasks, as the paper does."""
Indices = tuple[int, ...]
Sets = tuple[Indices, Indices]
"""Indices of training and of dev rows."""


def drawing_of(task: Task, choice: DrawingChoice) -> Drawing:
    """How rows of a task are drawn.

    Raises:
        FieldError: by class, and responses are free text.
    """
    if choice == "class" and not task.labels:
        raise FieldError(
            "draw", choice, f"responses of {task.name} are free text, which has no classes. Use auto or random."
        )
    if choice == "auto":
        return "class" if task.as_written and task.labels else "random"
    return choice


def drawn_at_random(rows: int, train: int, dev: int, chance: Random) -> Sets:
    """Indices of training and dev rows, any of so many rows by chance."""
    chosen = chance.sample(range(rows), train + dev)
    return tuple(chosen[:train]), tuple(chosen[train:])


def nested_at_random(rows: int, train: int, dev: int, chance: Random) -> Sets:
    """Indices of `train` training rows and `dev` dev rows, which lie in those of every larger number.

    Training rows are the first ones of a shuffle, dev rows the last ones.

    Args:
        rows: how many there are to draw from.
        train: training rows.
        dev: dev rows.
        chance: shuffles; the same one for every number of training rows.
    """
    order = list(range(rows))
    chance.shuffle(order)
    return tuple(order[:train]), tuple(order[rows - dev :][::-1])


def drawn_by_class(pool: Sequence[Example], labels: Sequence[str], train: int, dev: int, chance: Random) -> Sets:
    """Indices of training and dev rows, each in random order.

    Training rows have each class at least once, or, where they are fewer than classes, as many classes as they can,
    the largest first; the others are in proportion to the pool (largest remainder). Dev rows are in proportion to what
    training leaves. Chance breaks ties.

    Args:
        pool: what is drawn from; at least `train` + `dev` rows.
        labels: the classes.
        train: training rows.
        dev: dev rows.
        chance: decides which rows of a class are drawn.
    """
    rows_of = [[index for index, row in enumerate(pool) if row.response == label] for label in labels]
    for rows in rows_of:
        chance.shuffle(rows)
    teaching = _at_least_once(list(map(len, rows_of)), train, chance)
    chosen = [index for rows, count in zip(rows_of, teaching, strict=True) for index in rows[:count]]
    left = [rows[count:] for rows, count in zip(rows_of, teaching, strict=True)]
    checking = in_proportion(list(map(len, left)), dev, chance)
    checked = [index for rows, count in zip(left, checking, strict=True) for index in rows[:count]]
    chance.shuffle(chosen)
    chance.shuffle(checked)
    return tuple(chosen), tuple(checked)


def nested_by_class(pool: Sequence[Example], labels: Sequence[str], train: int, dev: int, chance: Random) -> Sets:
    """Indices of `train` training rows and `dev` dev rows, which lie in those of every larger number.

    Rows are taken one after another, a dev row behind every second training row until there are `dev`. A training row
    is of the largest class that has none yet; once each has one, of the class that is furthest behind its share of the
    pool (Sainte-Laguë's divisors, under which no class loses a row where there are more to divide). Dev rows follow the
    same divisors, and leave each class its last row until it has a training row. Chance breaks ties.

    Args:
        pool: what is drawn from; at least `train` + `dev` rows.
        labels: the classes.
        train: training rows.
        dev: dev rows, at most half as many.
        chance: decides which rows of a class are drawn; the same one for every number of training rows.
    """
    rows_of = [[index for index, row in enumerate(pool) if row.response == label] for label in labels]
    sizes = [len(rows) for rows in rows_of]
    for rows in rows_of:
        chance.shuffle(rows)
    classes = list(range(len(labels)))
    chance.shuffle(classes)  # the first of equals is taken
    teaching, checking = [0] * len(labels), [0] * len(labels)
    taught: list[int] = []
    checked: list[int] = []
    for number in range(1, train + 1):
        left = [index for index in classes if rows_of[index]]
        new = [index for index in left if not teaching[index]]
        chosen = max(new, key=sizes.__getitem__) if new else _furthest_behind(left, sizes, teaching)
        teaching[chosen] += 1
        taught.append(rows_of[chosen].pop())
        if number % 2 == 0 and len(checked) < dev:
            left = [index for index in classes if rows_of[index]]
            spare = [index for index in left if teaching[index] or len(rows_of[index]) > 1]
            chosen = _furthest_behind(spare or left, sizes, checking)
            checking[chosen] += 1
            checked.append(rows_of[chosen].pop())
    chance.shuffle(taught)
    return tuple(taught), tuple(checked)


def _furthest_behind(classes: Sequence[int], sizes: Sequence[int], counts: Sequence[int]) -> int:
    """The class that the next row falls to, by Sainte-Laguë: the largest quotient of its size and 2 x count + 1."""
    return max(classes, key=lambda index: sizes[index] / (2 * counts[index] + 1))


def _at_least_once(available: Sequence[int], rows: int, chance: Random) -> list[int]:
    """How many rows of each class are drawn, where none that has a row may be missing."""
    present = [index for index, count in enumerate(available) if count]
    if rows <= len(present):
        chance.shuffle(present)
        largest = sorted(present, key=lambda index: -available[index])[:rows]
        return [int(index in largest) for index in range(len(available))]
    # classes whose share is less than a row get one, which the others pay for in proportion
    small: set[int] = set()
    while True:
        others = [0 if index in small else count for index, count in enumerate(available)]
        total, divided = sum(others), rows - len(small)
        short = {index for index in present if index not in small and divided * available[index] < total}
        if not short:
            break
        small |= short
    shares = in_proportion(others, divided, chance)
    return [1 if index in small else share for index, share in enumerate(shares)]


def in_proportion(available: Sequence[int], rows: int, chance: Random) -> list[int]:
    """How many of `rows` fall to each class by the largest remainder; chance breaks ties.

    Args:
        available: how many rows each class has, at least `rows` in all.
        rows: how many are drawn.
        chance: breaks ties.

    Example:
        >>> in_proportion([70, 20, 10], 8, Random(0))  # 5.6, 1.6 and 0.8
        [6, 1, 1]
    """
    total = sum(available)
    if not rows:
        return [0] * len(available)
    shares = [rows * count // total for count in available]
    order = list(range(len(available)))
    chance.shuffle(order)
    order.sort(key=lambda index: -(rows * available[index] % total))
    for index in order[: rows - sum(shares)]:
        shares[index] += 1
    return shares
