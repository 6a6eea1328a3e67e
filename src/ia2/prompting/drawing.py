"""Drawing training and dev rows from a pool: at random, or by class so that each class is included."""

from collections.abc import Sequence
from random import Random
from typing import Literal

from ia2.errors import FieldError
from ia2.tasks.task import Example, Task

Drawing = Literal["class", "random"]
"""By class: each class at least once, and otherwise in proportion. Random: any rows (the paper)."""
DrawingChoice = Literal["auto", "class", "random"]
"""The user's choice; auto draws by class for a user's labels, and at random for built-in tasks, as in the paper."""
Indices = tuple[int, ...]
Sets = tuple[Indices, Indices]
"""Indices of training and of dev rows."""


def checked_seed(field: str, value: int) -> int:
    """Return a seed if it isn't negative.

    Raises:
        FieldError: the seed is negative.
    """
    if value < 0:
        raise FieldError(field, value, "this must be 0 or more.")
    return value


def checked_n(value: int) -> int:
    """Return the number of training rows if it is at least 2.

    Raises:
        FieldError: the number is less than 2.
    """
    if value < 2:
        raise FieldError(
            "n", value, "a training row's prompt holds the other rows as demonstrations, so at least 2 are needed."
        )
    return value


def drawing_of(task: Task, choice: DrawingChoice) -> Drawing:
    """Return how to draw rows of a task.

    Raises:
        FieldError: rows are to be drawn by class, and responses are free text.
    """
    if choice == "class" and not task.labels:
        raise FieldError(
            "draw", choice, f"responses of {task.name} are free text, which has no classes. Use auto or random."
        )
    if choice == "auto":
        return "class" if task.as_written and task.labels else "random"
    return choice


def drawn_at_random(rows: int, train: int, dev: int, chance: Random) -> Sets:
    """Return the indices of `train` training and `dev` dev rows, drawn at random from `rows` rows."""
    chosen = chance.sample(range(rows), train + dev)
    return tuple(chosen[:train]), tuple(chosen[train:])


def nested_at_random(rows: int, train: int, dev: int, chance: Random) -> Sets:
    """Return the indices of training and dev rows, each a subset of those for larger numbers.

    Training rows are the first of a shuffle, and dev rows the last.

    Args:
        rows: number of rows to draw from.
        train: number of training rows.
        dev: number of dev rows.
        chance: random generator, with the same state for every number of training rows.
    """
    order = list(range(rows))
    chance.shuffle(order)
    return tuple(order[:train]), tuple(order[rows - dev :][::-1])


def drawn_by_class(pool: Sequence[Example], labels: Sequence[str], train: int, dev: int, chance: Random) -> Sets:
    """Return the indices of training and dev rows, each in random order.

    The training rows include each class at least once, or, if there are fewer rows than classes, one row of each of the
    largest classes; otherwise they are in proportion to the pool (largest remainder). The dev rows are in proportion
    to the rows that remain. Ties are broken at random.

    Args:
        pool: the rows to draw from; at least `train` + `dev`.
        labels: the classes.
        train: number of training rows.
        dev: number of dev rows.
        chance: random generator that selects the rows of each class.
    """
    rows_of = [[index for index, row in enumerate(pool) if row.response == label] for label in labels]
    for rows in rows_of:
        chance.shuffle(rows)
    train_counts = _at_least_once(list(map(len, rows_of)), train, chance)
    chosen = [index for rows, count in zip(rows_of, train_counts, strict=True) for index in rows[:count]]
    left = [rows[count:] for rows, count in zip(rows_of, train_counts, strict=True)]
    dev_counts = in_proportion(list(map(len, left)), dev, chance)
    dev_rows = [index for rows, count in zip(left, dev_counts, strict=True) for index in rows[:count]]
    chance.shuffle(chosen)
    chance.shuffle(dev_rows)
    return tuple(chosen), tuple(dev_rows)


def nested_by_class(pool: Sequence[Example], labels: Sequence[str], train: int, dev: int, chance: Random) -> Sets:
    """Return the indices of training and dev rows, each a subset of those for larger numbers.

    Rows are drawn one at a time, with a dev row after every second training row until there are `dev`. A training row
    comes from the largest class without one; once each class has one, it comes from the class furthest below its share
    of the pool (Sainte-Laguë's divisors, under which no class loses a row when the total grows). Dev rows follow the
    same divisors, and leave each class its last row until it has a training row. Ties are broken at random.

    Args:
        pool: the rows to draw from; at least `train` + `dev`.
        labels: the classes.
        train: number of training rows.
        dev: number of dev rows, at most half as many.
        chance: random generator that selects the rows of each class, with the same state for every number of training
            rows.
    """
    rows_of = [[index for index, row in enumerate(pool) if row.response == label] for label in labels]
    sizes = [len(rows) for rows in rows_of]
    for rows in rows_of:
        chance.shuffle(rows)
    classes = list(range(len(labels)))
    chance.shuffle(classes)  # ties go to the first class
    train_counts, dev_counts = [0] * len(labels), [0] * len(labels)
    train_rows: list[int] = []
    dev_rows: list[int] = []
    for number in range(1, train + 1):
        left = [index for index in classes if rows_of[index]]
        new = [index for index in left if not train_counts[index]]
        chosen = max(new, key=sizes.__getitem__) if new else _furthest_behind(left, sizes, train_counts)
        train_counts[chosen] += 1
        train_rows.append(rows_of[chosen].pop())
        if number % 2 == 0 and len(dev_rows) < dev:
            left = [index for index in classes if rows_of[index]]
            spare = [index for index in left if train_counts[index] or len(rows_of[index]) > 1]
            chosen = _furthest_behind(spare or left, sizes, dev_counts)
            dev_counts[chosen] += 1
            dev_rows.append(rows_of[chosen].pop())
    chance.shuffle(train_rows)
    return tuple(train_rows), tuple(dev_rows)


def _furthest_behind(classes: Sequence[int], sizes: Sequence[int], counts: Sequence[int]) -> int:
    """Return the class that gets the next row, by Sainte-Laguë: the largest quotient of size and 2 x count + 1."""
    return max(classes, key=lambda index: sizes[index] / (2 * counts[index] + 1))


def _at_least_once(available: Sequence[int], rows: int, chance: Random) -> list[int]:
    """Return the number of rows to draw of each class, at least one of each class that has a row."""
    present = [index for index, count in enumerate(available) if count]
    if rows <= len(present):
        chance.shuffle(present)
        largest = sorted(present, key=lambda index: -available[index])[:rows]
        return [int(index in largest) for index in range(len(available))]
    # classes with a share below one row get one; the other classes divide the rest in proportion
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
    """Divide `rows` among the classes by the largest-remainder method, breaking ties at random.

    Args:
        available: number of rows of each class; at least `rows` in total.
        rows: number of rows to draw.
        chance: random generator for ties.

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
