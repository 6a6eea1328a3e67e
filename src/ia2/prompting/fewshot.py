"""Few-shot sets: training and dev rows, and the order of demonstrations in a prompt."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ia2.errors import FieldError, InputError
from ia2.prompting.drawing import (
    Drawing,
    DrawingChoice,
    checked_n,
    checked_seed,
    drawing_of,
    drawn_at_random,
    drawn_by_class,
    nested_at_random,
    nested_by_class,
)
from ia2.randomness import generator
from ia2.tasks.task import ContextItem, Example, Instruction, Task

MAX_LISTED_CLASSES = 5
"""Maximum number of classes without a training row that a note lists."""


@dataclass(frozen=True)
class FewShotSet:
    """N training rows, at most ⌊N/2⌋ dev rows, and the evaluation rows, determined by (task, N, seed, drawing).

    Example:
        >>> few = FewShotSet.draw(task, 4, seed=0)
        >>> len(few.train), len(few.dev)
        (4, 2)
    """

    task: Task
    seed: int
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    evaluation: tuple[Example, ...]
    """The task's evaluation rows; if it has none, all rows of the pool that are neither training nor dev rows."""
    context: Instruction | None = None
    """Text that replaces the demonstrations in the teacher's prompt."""
    unlabelled: tuple[str, ...] = ()
    """Additional queries without labels, which the teacher answers and the student is aligned on."""
    orders: int = 1
    """Number of demonstration orders in which the teacher answers each unlabelled query."""
    order: int | None = None
    """Number of the demonstration order that all prompts use (`best-of-8`); by default each prompt has its own random
    order."""
    drawing: Drawing = "random"
    """How the training and dev rows were drawn."""
    nested: bool = False
    """Whether the set is contained in larger sets of the same seed."""
    most_demonstrations: int | None = None
    """Maximum number of demonstrations in a prompt; None for no limit."""
    start_seed: int | None = None
    """Seed of the adapters' initial values; by default the set's seed."""
    order_seed: int | None = None
    """Seed of the orders of demonstrations and training rows, and of dropout; by default the set's seed."""

    @property
    def seed_of_start(self) -> int:
        """Seed of the adapters' initial values."""
        return self.seed if self.start_seed is None else self.start_seed

    @property
    def seed_of_order(self) -> int:
        """Seed of the orders of demonstrations and training rows, and of dropout."""
        return self.seed if self.order_seed is None else self.order_seed

    @property
    def n(self) -> int:
        """Number of training rows, N."""
        return len(self.train)

    @classmethod
    def draw(
        cls,
        task: Task,
        n: int,
        seed: int = 0,
        draw: DrawingChoice = "auto",
        *,
        nested: bool = False,
        dev_rows: int | None = None,
    ) -> "FewShotSet":
        """Draw set `seed` of `n` rows from a task's training pool.

        Args:
            task: the task to draw rows from.
            n: number of training rows; at least 2, so that each row's prompt has another row as a demonstration.
            seed: seed of the set; the paper uses 0 to 4.
            draw: whether rows are drawn by class or at random.
            nested: whether the set is contained in larger sets of the same seed (PROTOCOL, Data), or drawn
                independently of them.
            dev_rows: maximum number of dev rows; by default half as many as training rows.

        Raises:
            InputError: the task only evaluates, n is less than 2, seed is negative, dev_rows is less than 1, the pool
                has too few rows, or there are no classes to draw by.
        """
        task.trainable()
        checked_seed("seed", seed)
        if dev_rows is not None and dev_rows < 1:
            raise FieldError("dev_rows", dev_rows, "this must be 1 or more.")
        checks = n // 2 if dev_rows is None else min(n // 2, dev_rows)
        needed = checked_n(n) + checks
        if needed > len(task.pool):
            # the largest n for which the pool has n + ⌊n/2⌋ rows, or n rows and all requested dev rows
            most = (2 * len(task.pool) + 1) // 3
            most = most if dev_rows is None else max(most, len(task.pool) - dev_rows)
            raise InputError(
                f"{task.name}: {n} training rows and {checks} dev rows are needed, but there are {len(task.pool)} "
                "different rows to draw from. "
                + (f"Use n = {most} or fewer, or add rows." if most > 1 else "Add rows: at least 3 are needed.")
            )
        drawing = drawing_of(task, draw)
        chance = generator(seed, f"nested sets from {task.name}" if nested else f"set of {n} from {task.name}")
        if nested and drawing == "class":
            drawn = nested_by_class(task.pool, task.labels, n, checks, chance)
        elif nested:
            drawn = nested_at_random(len(task.pool), n, checks, chance)
        elif drawing == "class":
            drawn = drawn_by_class(task.pool, task.labels, n, checks, chance)
        else:
            drawn = drawn_at_random(len(task.pool), n, checks, chance)
        train, dev = (tuple(task.pool[index] for index in indices) for indices in drawn)
        used = {index for indices in drawn for index in indices}
        left_over = tuple(example for index, example in enumerate(task.pool) if index not in used)
        return cls(task, seed, train, dev, task.evaluation or left_over, drawing=drawing, nested=nested)

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings, one sentence each: classes without a training row, dev rows of one class, none left to evaluate."""
        sentences: list[str] = []
        labels_in_train = {row.response for row in self.train}
        if missing := [label.strip() for label in self.task.labels if label not in labels_in_train]:
            more = f" and {len(missing) - MAX_LISTED_CLASSES} more" if len(missing) > MAX_LISTED_CLASSES else ""
            shown = f"{', '.join(map(repr, missing[:MAX_LISTED_CLASSES]))}{more}"
            sentences.append(f"{self.task.name}: none of the {self.n} training rows has the label {shown}.")
        labels_in_dev = {row.response for row in self.dev}
        if len(self.task.labels) > 1 and len(labels_in_dev) == 1:
            rows = f"all {len(self.dev)} dev rows have" if len(self.dev) > 1 else "the dev row has"
            sentences.append(
                f"{self.task.name}: {rows} the label {labels_in_dev.pop().strip()!r}, so that early stopping and the "
                "choice of a learning rate favour adapters that always answer with it."
            )
        if not self.evaluation:
            sentences.append(
                f"{self.task.name}: {self.n} training rows and {len(self.dev)} dev rows leave none to evaluate, so "
                "nothing will be measured. Use a smaller n, add rows, or name a file to evaluate."
            )
        return tuple(sentences)

    def limited(self, rows: int | None) -> "FewShotSet":
        """Return a copy with at most `rows` evaluation rows (all for None), chosen by `Task.at_most`."""
        return replace(self, evaluation=self.task.at_most(self.evaluation, rows))

    def as_record(self) -> dict[str, Any]:
        """Return the record's entries on drawing and prompting, besides task, size and seed."""
        context = self.context.text.encode() if self.context is not None else None
        unlabelled = "\0".join(self.unlabelled).encode() if self.unlabelled else None
        texts = self.task.response_kind == "text"
        return {
            "chat": self.task.chat,
            "max_new_tokens": self.task.max_new_tokens if texts else None,
            "teacher_tokens": self.task.for_teacher.max_new_tokens if texts else None,
            "stop": self.task.stop if texts else None,
            "draw": self.drawing,
            "nested": self.nested,
            "dev_rows": len(self.dev),
            "most_demonstrations": self.most_demonstrations,
            "order": self.order,
            "context_sha256": hashlib.sha256(context).hexdigest() if context is not None else None,
            "unlabelled": len(self.unlabelled),
            "unlabelled_sha256": hashlib.sha256(unlabelled).hexdigest() if unlabelled is not None else None,
            "orders": self.orders,
        } | {
            name: seed
            for name, seed in (("start_seed", self.start_seed), ("order_seed", self.order_seed))
            if seed is not None
        }

    def demonstrations(self) -> tuple[ContextItem, ...]:
        """Return the context of all queries: the training rows in one order (PROTOCOL, Evaluation), or the text."""
        return self._demonstrations_for(self.train, "demonstrations")

    def reshuffled_contexts(self, queries: int) -> tuple[tuple[ContextItem, ...], ...]:
        """Return the demonstrations of each query: the training rows in an order of its own."""
        return tuple(
            self._demonstrations_for(self.train, f"demonstrations of query {index}") for index in range(queries)
        )

    def resampled_contexts(self, queries: int) -> tuple[tuple[ContextItem, ...], ...]:
        """Return the demonstrations of each query: N-1 newly drawn rows, or `most_demonstrations` if that is fewer.

        They are drawn from unused rows of the pool, as in the published scripts (PROTOCOL, Evaluation). The seed of the
        rows decides which ones, the seed of the order their order.

        Raises:
            InputError: too few unused rows are left.
        """
        used = {*self.train, *self.dev, *self.evaluation}
        unused = [row for row in self.task.pool if row not in used]
        count = min(self.n - 1, self.most_demonstrations or self.n)
        if len(unused) < count:
            raise InputError(
                f"{self.task.name}: {count} demonstrations are drawn anew for each query, but only {len(unused)} rows "
                "are left to draw from. Use a smaller N, or the same demonstrations for all queries."
            )
        return tuple(self._resampled(unused, count, f"demonstrations of query {index}") for index in range(queries))

    def _resampled(self, unused: Sequence[Example], count: int, purpose: str) -> tuple[Example, ...]:
        named = f"{purpose}, set of {self.n} from {self.task.name}"
        rows = generator(self.seed, named).sample(unused, count)
        # with one seed, rows and order are drawn at once; a separate seed of the order reorders the same rows
        if self.seed_of_order != self.seed:
            generator(self.seed_of_order, f"order of {named}").shuffle(rows)
        return tuple(rows)

    def training_contexts(self) -> tuple[tuple[ContextItem, ...], ...]:
        """Return the demonstrations of each training row: the other N-1, in an order of its own (PROTOCOL, Teacher)."""
        return tuple(
            self._demonstrations_for(self.train[:index] + self.train[index + 1 :], f"context of training row {index}")
            for index in range(self.n)
        )

    def dev_contexts(self) -> tuple[tuple[ContextItem, ...], ...]:
        """Return the demonstrations of each dev row: N-1 of the training rows (PROTOCOL, Teacher)."""
        if self.context is not None:
            return ((self.context,),) * len(self.dev)
        return tuple(
            self._demonstrations_for(self.train, f"context of dev row {index}", most=self.n - 1)
            for index in range(len(self.dev))
        )

    def unlabelled_of_pool(self, count: int) -> tuple[str, ...]:
        """Return the queries of `count` unused rows of the pool, as unlabelled texts.

        Raises:
            InputError: too few unused rows are left.
        """
        used = {*self.train, *self.dev, *self.evaluation}
        unused = [row.query for row in self.task.pool if row not in used]
        if len(unused) < count:
            raise FieldError(
                "unlabelled_rows",
                count,
                f"only {len(unused)} rows of {self.task.name} are neither trained on nor evaluated.",
            )
        generator(self.seed, f"unlabelled rows of {self.task.name}").shuffle(unused)
        return tuple(unused[:count])

    def unlabelled_contexts(self) -> tuple[tuple[ContextItem, ...], ...]:
        """Return the demonstrations of each unlabelled query in each order; the orders of a query are consecutive."""
        return tuple(
            self._demonstrations_for(self.train, f"context {number} of unlabelled query {index}")
            for index in range(len(self.unlabelled))
            for number in range(self.orders)
        )

    def unlabelled_queries(self) -> tuple[str, ...]:
        """Return the query of each context in `unlabelled_contexts`."""
        return tuple(query for query in self.unlabelled for _ in range(self.orders))

    def _demonstrations_for(
        self, examples: tuple[Example, ...], purpose: str, most: int | None = None
    ) -> tuple[ContextItem, ...]:
        if self.context is not None:
            return (self.context,)
        count = min(len(examples), most or len(examples), self.most_demonstrations or len(examples))
        if self.order is None:
            return self._shuffled(examples, purpose)[:count]
        ordered = self._shuffled(self.train, f"order {self.order}")
        return tuple(row for row in ordered if row in examples)[:count]

    def _shuffled(self, examples: tuple[Example, ...], purpose: str) -> tuple[Example, ...]:
        order = list(examples)
        generator(self.seed_of_order, f"{purpose}, set of {self.n} from {self.task.name}").shuffle(order)
        return tuple(order)
