"""Sequences of different length laid out in rows for one forward pass.

Every token knows its sequence and its position in it, and what it may attend to follows from those two alone. So it
makes no difference to a sequence what else is in the batch, on which side padding stands, whether there is any (the
packed layout has little), or whether what it has in common with others was computed beforehand, or stands in its row
once for all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os.path import commonprefix
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

Layout = Literal["packed", "right", "left"]
"""How sequences share a batch: end to end in one row, or a row each with padding on one side."""

PADDING = -1
SHARED = -2
DEAR_WIDTH = 3000
"""The width of a row, in tokens, at which attention costs about as much as everything else (six hidden sizes)."""

CPU_PASS_TOKENS, GPU_PASS_TOKENS = 1024, 16384


@dataclass(frozen=True)
class TokenSequence:
    """A prompt and the response that follows it, in tokens."""

    prompt: tuple[int, ...]
    response: tuple[int, ...]

    @property
    def inputs(self) -> tuple[int, ...]:
        """What the model reads to predict each response token: the last one is predicted, never read."""
        return self.prompt + self.response[:-1]

    def __post_init__(self) -> None:
        if not self.prompt or not self.response:
            raise ValueError("a sequence needs at least one prompt token and one response token")


class Positions(NamedTuple):
    """Where response tokens are predicted: one (row, column) of the batch for each of them."""

    row: Int[Tensor, " n"]
    column: Int[Tensor, " n"]


@dataclass(frozen=True)
class Batch:
    """Sequences laid out for one forward pass."""

    input_ids: Int[Tensor, "rows width"]
    position_ids: Int[Tensor, "rows width"]
    """Each token's place in its own sequence, a shared prefix counted."""
    owner: Int[Tensor, "rows width"]
    """The index of each token's sequence; PADDING where there is none, SHARED where it is that of all in its row."""
    at: Positions
    """The positions that predict response tokens, in the order of sequences and of their tokens."""
    example: Int[Tensor, " n"]
    """The sequence that each of those positions belongs to."""
    response: Int[Tensor, " n"]
    """The token that each of those positions is to predict."""
    sequences: int

    def behind(self, tokens: int) -> "Batch":
        """The same batch with so many more tokens before every sequence, which a cache holds."""
        return replace(self, position_ids=self.position_ids + tokens) if tokens else self

    def of(self, examples: Bool[Tensor, " examples"]) -> "Batch":
        """The same batch with the response positions of some examples only, which keep their indices."""
        own = examples.to(self.example.device)[self.example]
        at = Positions(self.at.row[own], self.at.column[own])
        return replace(self, at=at, example=self.example[own], response=self.response[own])


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
    own = [_common([sequences[index] for index in row], skip, share) for row in rows]
    widths = [
        alone - skip + sum(len(inputs[index]) - alone for index in row) for row, alone in zip(rows, own, strict=True)
    ]
    width = max(widths)
    input_ids = torch.zeros(len(rows), width, dtype=torch.long)
    position_ids = torch.zeros(len(rows), width, dtype=torch.long)
    owner = torch.full((len(rows), width), PADDING, dtype=torch.long)

    def put(number: int, start: int, whose: int, tokens: Sequence[int], position: int) -> int:
        """Write tokens into a row; says where they end."""
        span = slice(start, start + len(tokens))
        input_ids[number, span] = torch.tensor(tokens, dtype=torch.long)
        position_ids[number, span] = torch.arange(position, position + len(tokens))
        owner[number, span] = whose
        return span.stop

    row_of, end = [0] * len(inputs), [0] * len(inputs)
    for number, (row, alone) in enumerate(zip(rows, own, strict=True)):
        start = width - widths[number] if layout == "left" else 0
        start = put(number, start, SHARED, inputs[row[0]][skip:alone], skip)
        for index in row:
            start = put(number, start, index, inputs[index][alone:], alone)
            row_of[index], end[index] = number, start
    at_row: list[int] = []
    at_column: list[int] = []
    example: list[int] = []
    response: list[int] = []
    for index, sequence in enumerate(sequences):
        count = len(sequence.response)
        at_row += [row_of[index]] * count
        at_column += range(end[index] - count, end[index])
        example += [index] * count
        response += sequence.response
    positions = Positions(*(torch.tensor(place, device=device) for place in (at_row, at_column)))
    return Batch(
        input_ids.to(device),
        position_ids.to(device),
        owner.to(device),
        positions,
        torch.tensor(example, device=device),
        torch.tensor(response, device=device),
        len(inputs),
    )


def shared_tokens(sequences: Sequence[TokenSequence]) -> tuple[int, ...]:
    """The longest run of tokens that every prompt begins with, leaving each at least one token of its own."""
    # of tokens, not of paths
    shared = commonprefix([sequence.prompt[:-1] for sequence in sequences])  # noqa: RUF071
    return tuple(shared)


def _common(sequences: Sequence[TokenSequence], skip: int, share: bool) -> int:
    """How many first tokens stand in a row once for these sequences, those counted that are skipped."""
    return max(skip, len(shared_tokens(sequences))) if share and len(sequences) > 1 else skip


def shared_rows(
    sequences: Sequence[TokenSequence], groups: Sequence[int], *, skip: int = 0, share: bool = True
) -> tuple[list[list[int]], list[int]]:
    """Which sequences share a row of a packed batch: some of one group, so that the batch costs least.

    Wide rows cost attention, which grows with the square of the width; narrow ones padding, which grows with how uneven
    they are. Some widths are tried, the longest sequence put first, each where it fits.

    Args:
        sequences: what is to be read.
        groups: the group of each, such as the adapter that reads it.
        skip: how many first tokens of every sequence are left out.
        share: whether what all prompts of a group begin with stands in a row once.

    Returns:
        The rows, each a list of sequences, ordered by group; and the group of each row.
    """
    members: dict[int, list[TokenSequence]] = {}
    for group, sequence in zip(groups, sequences, strict=True):
        members.setdefault(group, []).append(sequence)
    common = {group: _common(own, skip, share) for group, own in members.items()}
    lengths = [len(sequence.inputs) - common[group] for sequence, group in zip(sequences, groups, strict=True)]
    begun = {group: tokens - skip for group, tokens in common.items()}
    total = max(begun[group] + sum(len(one.inputs) - common[group] for one in own) for group, own in members.items())
    tried = [max(begun[group] + length for group, length in zip(groups, lengths, strict=True))]
    while tried[-1] < total:
        tried.append(min(tried[-1] * 9 // 8 + 1, total))
    filled = [_filled(lengths, groups, begun, width) for width in tried]

    def cost(rows: list[tuple[int, list[int]]]) -> float:
        width = max(begun[group] + sum(lengths[index] for index in row) for group, row in rows)
        return len(rows) * width * (1 + width / DEAR_WIDTH)

    best = min(filled, key=cost)
    return [row for _, row in best], [group for group, _ in best]


def _filled(
    lengths: Sequence[int], groups: Sequence[int], begun: Mapping[int, int], width: int
) -> list[tuple[int, list[int]]]:
    """Rows of at most this width, each with its group, the longest sequences first put where they fit.

    A row of a group begins with as many tokens as `begun` says.
    """
    rows: dict[int, list[list[int]]] = {}
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        own = rows.setdefault(groups[index], [])
        left = width - begun[groups[index]] - lengths[index]
        fitting = (row for row in own if sum(lengths[other] for other in row) <= left)
        row = next(fitting, None)
        if row is None:
            own.append([index])
        else:
            row.append(index)
    return [(group, sorted(row)) for group in sorted(rows) for row in rows[group]]


def by_length(
    sequences: Sequence[TokenSequence], batch_size: int | None = None, *, most_tokens: int | None = None, skip: int = 0
) -> list[list[int]]:
    """Indices of the sequences in batches of like length, so that little of a batch is padding.

    Args:
        sequences: what is to be read.
        batch_size: how many a batch has at the most.
        most_tokens: how many tokens it has at the most, unless a single sequence has more.
        skip: how many first tokens of every sequence don't count.
    """
    batches: list[list[int]] = []
    tokens = 0
    for index in sorted(range(len(sequences)), key=lambda index: len(sequences[index].inputs)):
        own = len(sequences[index].inputs) - skip
        many = batch_size is not None and bool(batches) and len(batches[-1]) == batch_size
        if not batches or many or (most_tokens is not None and tokens + own > most_tokens):
            batches.append([])
            tokens = 0
        batches[-1].append(index)
        tokens += own
    return batches


def pass_tokens(device: torch.device, behind: int = 0) -> int:
    """How many tokens are worth reading at once where no gradient asks for whole batches.

    So many keep a processor's cores busy, and of more its caches don't hold what is made of them; a GPU wants more.

    Args:
        device: where they are read.
        behind: how many tokens stand before every sequence in a cache; keys and values of these need room as well.
    """
    most = CPU_PASS_TOKENS if device.type == "cpu" else GPU_PASS_TOKENS
    return max(most - behind, most // 4)


def passes(
    sequences: Sequence[TokenSequence],
    batch_size: int | None,
    device: torch.device,
    *,
    skip: int = 0,
    copies: int = 1,
) -> list[list[int]]:
    """Indices of the sequences of each forward pass without gradients, those of like length together.

    Args:
        sequences: what is to be read.
        batch_size: how many a pass has at the most; where it isn't given, a pass has as many as `pass_tokens` has room
            for.
        device: where they are read.
        skip: how many first tokens of every sequence a cache holds.
        copies: how often each sequence stands in a pass, such as once for every adapter.
    """
    room = pass_tokens(device, skip) // copies if batch_size is None else None
    return by_length(sequences, batch_size, most_tokens=room, skip=skip)
