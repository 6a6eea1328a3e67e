"""Dividing rows of adapters into forward passes, and shrinking the passes when memory runs out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ia2.training.student import Part


class PassSize(NamedTuple):
    """Size limit of a forward pass."""

    parts: int | None = None
    """Maximum number of parts, each of one adapter; None for all."""
    rows: int | None = None
    """Maximum number of rows of each part; None for all."""

    def halved(self, parts: int, rows: int) -> "PassSize | None":
        """Return a limit of half the parts, or half the rows of a single part; None for a single row.

        Args:
            parts: number of parts.
            rows: number of rows of the largest part.
        """
        max_parts, max_rows = min(self.parts or parts, parts), min(self.rows or rows, rows)
        if max_parts > 1:
            return self._replace(parts=-(-max_parts // 2))
        return PassSize(1, -(-max_rows // 2)) if max_rows > 1 else None


WHOLE = PassSize()
"""All parts with all their rows."""


@dataclass(frozen=True)
class Share:
    """Rows of a part that are in one pass."""

    number: int
    """Number of the part."""
    part: Part
    """The part, limited to the rows of this pass."""
    rows: int
    """Number of rows of the whole part."""


def in_passes(
    parts: Sequence[Part], limit: PassSize, enough_tokens: int, max_tokens: int | None = None
) -> Iterator[list[Share]]:
    """Divide the parts into passes of limited size, separating long parts from short ones.

    A pass is as wide as its longest part. Once a pass has the `enough_tokens` that keep the device busy, longer parts
    go to another pass instead of padding this one. If `max_tokens` is given, a pass exceeds it only if a single row of
    each part does.
    """
    order = sorted(range(len(parts)), key=lambda number: parts[number].tokens)
    length_groups: list[list[int]] = []
    for number in order:
        tokens = sum(parts[other].tokens for other in length_groups[-1]) if length_groups else 0
        if not length_groups or (
            tokens >= enough_tokens and parts[number].tokens > 1.2 * parts[length_groups[-1][0]].tokens
        ):
            length_groups.append([])
        length_groups[-1].append(number)
    max_parts = limit.parts or max(1, len(parts))
    groups = [numbers[at : at + max_parts] for numbers in length_groups for at in range(0, len(numbers), max_parts)]
    for group in groups:
        most = max(len(parts[number].indices) for number in group)
        size = limit.rows or most
        if limit.rows is None and max_tokens is not None:
            longest = max(len(sequence.inputs) for number in group for sequence in parts[number].sequences)
            size = max(1, max_tokens // (longest * len(group)))
        for start in range(0, most, size):
            limited = [(number, parts[number].limited(start, size)) for number in sorted(group)]
            yield [Share(number, part, len(parts[number].indices)) for number, part in limited if part.indices]
