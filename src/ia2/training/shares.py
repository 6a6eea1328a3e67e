"""Which rows of which adapters a forward pass takes, and how passes are made smaller where memory runs out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ia2.training.student import Part


class PassSize(NamedTuple):
    """How much a forward pass may take."""

    parts: int | None = None
    """Parts at most, each of an adapter; None for all."""
    rows: int | None = None
    """Rows of each part at most; None for all."""

    def halved(self, parts: int, rows: int) -> "PassSize | None":
        """Half of the parts, or of the rows of a single one; None where there is one row of one part already.

        Args:
            parts: how many there are.
            rows: how many rows the largest has.
        """
        most_parts, most_rows = min(self.parts or parts, parts), min(self.rows or rows, rows)
        if most_parts > 1:
            return self._replace(parts=-(-most_parts // 2))
        return PassSize(1, -(-most_rows // 2)) if most_rows > 1 else None


WHOLE = PassSize()
"""All parts with all their rows."""


@dataclass(frozen=True)
class Share:
    """Some rows of a part, as a pass reads them."""

    number: int
    """Which of the parts they are of."""
    part: Part
    """The rows of this pass alone."""
    rows: int
    """How many the whole part has."""


def in_passes(
    parts: Sequence[Part], limit: PassSize, enough_tokens: int, most_tokens: int | None = None
) -> Iterator[list[Share]]:
    """The parts in passes of limited size, long parts apart from short ones.

    A pass is as wide as its longest part. Where there are `enough_tokens` to keep the machine busy, parts of other
    lengths have passes of their own instead of padding. Where `most_tokens` is given, no pass has more, if it can be
    helped.
    """
    order = sorted(range(len(parts)), key=lambda number: parts[number].tokens)
    alike: list[list[int]] = []
    for number in order:
        tokens = sum(parts[other].tokens for other in alike[-1]) if alike else 0
        if not alike or (tokens >= enough_tokens and parts[number].tokens > 1.2 * parts[alike[-1][0]].tokens):
            alike.append([])
        alike[-1].append(number)
    most_parts = limit.parts or max(1, len(parts))
    groups = [numbers[at : at + most_parts] for numbers in alike for at in range(0, len(numbers), most_parts)]
    for group in groups:
        most = max(len(parts[number].indices) for number in group)
        size = limit.rows or most
        if limit.rows is None and most_tokens is not None:
            longest = max(len(sequence.inputs) for number in group for sequence in parts[number].sequences)
            size = max(1, most_tokens // (longest * len(group)))
        for start in range(0, most, size):
            limited = [(number, parts[number].limited(start, size)) for number in sorted(group)]
            yield [Share(number, part, len(parts[number].indices)) for number, part in limited if part.indices]
