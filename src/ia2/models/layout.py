"""Layout of sequences of different length in the rows of one forward pass.

Every token carries its sequence and its position, and attention depends on these two only. So the result for a sequence
doesn't depend on the rest of the batch, on the side or amount of padding (the packed layout has little), or on whether
the common prefix was prefilled or is stored once in the row for all its sequences.
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
    """Indices into the flattened batch (rows · width); None for all tokens in order."""
    example: Int[Tensor, " n"]
    """Index of each position's sequence."""
    width: int
    """Tokens per row of the batch."""

    def taken(self, values: Float[Tensor, "*rows width size"]) -> Float[Tensor, "n size"]:
        """Return the values at these positions, on the device of the values.

        Args:
            values: (rows, width, size); some families give (rows · width, size).
        """
        flat = values.reshape(-1, values.shape[-1])
        return flat if self.token is None else flat.index_select(0, self.token.to(values.device))


@dataclass(frozen=True)
class Span:
    """The location of one sequence's tokens in a batch."""

    row: int
    shared: int
    """First column of the prefix common to all sequences of the row."""
    alone: int
    """Index in the sequence of its first token after that prefix."""
    start: int
    """Column of that token."""
    skipped: int
    """Number of the sequence's first tokens that are in a cache instead."""

    def column(self, token: int) -> int:
        """Return the column of a token, given its index in the sequence.

        Raises:
            ValueError: the token is in a cache.
        """
        if token < self.skipped:
            raise ValueError("a position that a shared prefix holds can't be read")
        return self.start + token - self.alone if token >= self.alone else self.shared + token - self.skipped


@dataclass(frozen=True)
class Batch:
    """Sequences laid out for one forward pass."""

    input_ids: Int[Tensor, "rows width"]
    position_ids: Int[Tensor, "rows width"]
    """Each token's position in its own sequence, including a shared prefix."""
    owner: Int[Tensor, "rows width"]
    """Index of each token's sequence; PADDING for padding, SHARED for the common prefix of the row's sequences."""
    sequences: Sequence[TokenSequence]
    spans: Sequence[Span]
    """Location of each sequence."""

    def behind(self, tokens: int) -> "Batch":
        """Return the batch with `tokens` more cached tokens before every sequence."""
        return replace(self, position_ids=self.position_ids + tokens) if tokens else self

    def at(self, where: Where = "response", examples: Iterable[int] | None = None) -> Positions:
        """Return positions of sequences.

        Args:
            where: which positions of each sequence.
            examples: indices of the sequences, in the order wanted; by default all.

        Raises:
            ValueError: a position is in the cached prefix.
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
        """Return the concatenated response tokens of sequences (by default all): the target of each position."""
        selected = self.sequences if examples is None else [self.sequences[index] for index in examples]
        tokens = [token for sequence in selected for token in sequence.response]
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
        sequences: the sequences; each keeps its index in this order.
        layout: see `Layout`.
        rows: indices of the sequences in each row of a packed batch; by default chosen by `shared_rows`.
        skip: number of first tokens of every sequence to leave out, because they are in a cached prefix.
        share: whether the common prefix of a row's prompts is stored once.
        device: device of the tensors.

    Raises:
        ValueError: there are no sequences, or a prompt has no token after the first `skip`.
    """
    inputs = [sequence.inputs for sequence in sequences]
    if not inputs or any(len(sequence.prompt) <= skip for sequence in sequences):
        raise ValueError("every sequence must bring at least one prompt token of its own")
    if rows is None and layout == "packed":
        rows, _ = shared_rows(sequences, [0] * len(inputs), skip=skip, share=share)
    elif rows is None:
        rows = [[index] for index in range(len(inputs))]
    # number of tokens common to the sequences of each row, skipped ones included
    alone_from = [common_tokens([sequences[index] for index in row], skip, share) for row in rows]
    widths = [
        alone - skip + sum(len(inputs[index]) - alone for index in row)
        for row, alone in zip(rows, alone_from, strict=True)
    ]
    width = max(widths)
    builder = _BatchBuilder(len(rows), width)
    spans: dict[int, Span] = {}
    for number, (row, alone) in enumerate(zip(rows, alone_from, strict=True)):
        first = width - widths[number] if layout == "left" else 0
        start = builder.put(number, first, SHARED, inputs[row[0]][skip:alone], skip)
        for index in row:
            spans[index] = Span(number, first, alone, start, skip)
            start = builder.put(number, start, index, inputs[index][alone:], alone)
    return builder.batch(sequences, [spans[index] for index in range(len(inputs))], device)


class _BatchBuilder:
    """Rows of a batch under construction."""

    def __init__(self, rows: int, width: int) -> None:
        self.input_ids = [[0] * width for _ in range(rows)]
        self.position_ids = [[0] * width for _ in range(rows)]
        self.owner = [[PADDING] * width for _ in range(rows)]

    def put(self, row: int, start: int, owner: int, tokens: Sequence[int], position: int) -> int:
        """Write tokens into a row; return the column after the last one."""
        span = slice(start, start + len(tokens))
        self.input_ids[row][span] = tokens
        self.position_ids[row][span] = range(position, position + len(tokens))
        self.owner[row][span] = [owner] * len(tokens)
        return span.stop

    def batch(self, sequences: Sequence[TokenSequence], spans: Sequence[Span], device: torch.device | str) -> Batch:
        """Return the batch, on a device."""
        input_ids, position_ids, owner = on_device([self.input_ids, self.position_ids, self.owner], device)
        return Batch(input_ids, position_ids, owner, sequences, spans)
