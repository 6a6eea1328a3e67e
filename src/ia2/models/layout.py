"""Sequences of different length laid out in rows for one forward pass.

Every token knows its sequence and its position in it, and what it may attend to follows from those two alone. So it
makes no difference to a sequence what else is in the batch, on which side padding stands, whether there is any (the
packed layout has little), or whether what it has in common with others was computed beforehand, or stands in its row
once for all of them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ia2.models.packing import common_tokens, shared_rows
from ia2.models.sequences import TokenSequence, Where
from ia2.models.transfer import on_device

Layout = Literal["packed", "right", "left"]
"""How sequences share a batch: end to end in one row, or a row each with padding on one side."""
PADDING = -1
SHARED = -2


class Positions(NamedTuple):
    """Positions of a batch, in the order of its sequences and of their tokens."""

    token: Int[Tensor, " n"] | None
    """Which of the batch's tokens, counted row after row; None where it is all of them in their order."""
    example: Int[Tensor, " n"]
    """The index of each position's sequence."""
    width: int
    """Tokens in a row of the batch."""

    def taken(self, values: Float[Tensor, "*rows width size"]) -> Float[Tensor, "n size"]:
        """What stands at these positions of values that each token of the batch has, on the device of the values.

        Args:
            values: (rows, width, size); some families give (rows · width, size).
        """
        flat = values.reshape(-1, values.shape[-1])
        return flat if self.token is None else flat.index_select(0, self.token.to(values.device))


@dataclass(frozen=True)
class Span:
    """Where the tokens of one sequence stand in a batch."""

    row: int
    shared: int
    """The column where what all sequences of the row begin with starts."""
    alone: int
    """The sequence's first token that isn't shared, counted from its beginning."""
    start: int
    """The column of that token."""
    skipped: int
    """How many of its first tokens a cache holds."""

    def column(self, token: int) -> int:
        """The column of a token, counted from the sequence's beginning."""
        if token < self.skipped:
            raise ValueError("a position that a shared prefix holds can't be read")
        return self.start + token - self.alone if token >= self.alone else self.shared + token - self.skipped


@dataclass(frozen=True)
class Batch:
    """Sequences laid out for one forward pass."""

    input_ids: Int[Tensor, "rows width"]
    position_ids: Int[Tensor, "rows width"]
    """Each token's place in its own sequence, a shared prefix counted."""
    owner: Int[Tensor, "rows width"]
    """The index of each token's sequence; PADDING where there is none, SHARED where it is that of all in its row."""
    sequences: Sequence[TokenSequence]
    spans: Sequence[Span]
    """Where each sequence stands."""

    def behind(self, tokens: int) -> "Batch":
        """The same batch with `tokens` more tokens, which a cache holds, before every sequence."""
        return replace(self, position_ids=self.position_ids + tokens) if tokens else self

    def at(self, where: Where = "response", examples: Iterable[int] | None = None) -> Positions:
        """Positions of sequences.

        Args:
            where: which positions of each.
            examples: the sequences' numbers, in the order wanted; by default all.

        Raises:
            ValueError: a shared prefix holds one of them.
        """
        width = self.input_ids.shape[1]
        token: list[int] = []
        example: list[int] = []
        for index in range(len(self.sequences)) if examples is None else examples:
            span, positions = self.spans[index], self.sequences[index].positions(where)
            token += [span.row * width + span.column(position) for position in positions]
            example += [index] * len(positions)
        at_token, at_example = on_device([token, example], self.input_ids.device)
        return Positions(at_token, at_example, width)

    def responses(self, examples: Iterable[int] | None = None) -> Int[Tensor, " n"]:
        """The response tokens of sequences end to end, by default of all: what each position is to predict."""
        chosen = self.sequences if examples is None else [self.sequences[index] for index in examples]
        tokens = [token for sequence in chosen for token in sequence.response]
        return on_device(tokens, self.input_ids.device)


def lay_out(
    sequences: Sequence[TokenSequence],
    *,
    layout: Layout = "packed",
    rows: Sequence[Sequence[int]] | None = None,
    skip: int = 0,
    share: bool = True,
    device: torch.device | str = "cpu",
) -> Batch:
    """Arrange sequences as one batch.

    Args:
        sequences: what is to be read; each keeps its index in the order given.
        layout: see `Layout`.
        rows: which sequences share each row of a packed batch; by default as `shared_rows` says.
        skip: how many first tokens of every sequence are left out, since a shared prefix holds them.
        share: whether what all prompts of a row begin with stands in it once.
        device: where the tensors are made.
    """
    inputs = [sequence.inputs for sequence in sequences]
    if not inputs or any(len(sequence.prompt) <= skip for sequence in sequences):
        raise ValueError("every sequence must bring at least one prompt token of its own")
    if rows is None and layout == "packed":
        rows, _ = shared_rows(sequences, [0] * len(inputs), skip=skip, share=share)
    elif rows is None:
        rows = [[index] for index in range(len(inputs))]
    # where the tokens that each sequence has alone begin
    alone_from = [common_tokens([sequences[index] for index in row], skip, share) for row in rows]
    widths = [
        alone - skip + sum(len(inputs[index]) - alone for index in row)
        for row, alone in zip(rows, alone_from, strict=True)
    ]
    width = max(widths)
    canvas = _Canvas(len(rows), width)
    spans: dict[int, Span] = {}
    for number, (row, alone) in enumerate(zip(rows, alone_from, strict=True)):
        first = width - widths[number] if layout == "left" else 0
        start = canvas.put(number, first, SHARED, inputs[row[0]][skip:alone], skip)
        for index in row:
            spans[index] = Span(number, first, alone, start, skip)
            start = canvas.put(number, start, index, inputs[index][alone:], alone)
    return canvas.batch(sequences, [spans[index] for index in range(len(inputs))], device)


class _Canvas:
    """Rows of a batch that tokens are written into."""

    def __init__(self, rows: int, width: int) -> None:
        self.input_ids = [[0] * width for _ in range(rows)]
        self.position_ids = [[0] * width for _ in range(rows)]
        self.owner = [[PADDING] * width for _ in range(rows)]

    def put(self, row: int, start: int, owner: int, tokens: Sequence[int], position: int) -> int:
        """Write tokens into a row; says where they end."""
        span = slice(start, start + len(tokens))
        self.input_ids[row][span] = tokens
        self.position_ids[row][span] = range(position, position + len(tokens))
        self.owner[row][span] = [owner] * len(tokens)
        return span.stop

    def batch(self, sequences: Sequence[TokenSequence], spans: Sequence[Span], device: torch.device | str) -> Batch:
        """What was written, on a device."""
        input_ids, position_ids, owner = on_device([self.input_ids, self.position_ids, self.owner], device)
        return Batch(input_ids, position_ids, owner, sequences, spans)
