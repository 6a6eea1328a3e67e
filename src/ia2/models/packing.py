"""Which sequences share a row of a batch, and which a forward pass, so that little of it is padding."""

from collections.abc import Mapping, Sequence

import torch

from ia2.models.sequences import TokenSequence, shared_tokens

DEAR_WIDTH = 3000
"""The width of a row, in tokens, at which attention costs about as much as everything else (six hidden sizes)."""
CPU_PASS_TOKENS, GPU_PASS_TOKENS = 1024, 16384


def common_tokens(sequences: Sequence[TokenSequence], skip: int, share: bool) -> int:
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
    common = {group: common_tokens(read, skip, share) for group, read in members.items()}
    lengths = [len(sequence.inputs) - common[group] for sequence, group in zip(sequences, groups, strict=True)]
    begun = {group: tokens - skip for group, tokens in common.items()}
    total = max(
        begun[group] + sum(len(sequence.inputs) - common[group] for sequence in read) for group, read in members.items()
    )
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
        group_rows = rows.setdefault(groups[index], [])
        left = width - begun[groups[index]] - lengths[index]
        fitting = (row for row in group_rows if sum(lengths[other] for other in row) <= left)
        row = next(fitting, None)
        if row is None:
            group_rows.append([index])
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
        length = len(sequences[index].inputs) - skip
        many = batch_size is not None and bool(batches) and len(batches[-1]) == batch_size
        if not batches or many or (most_tokens is not None and tokens + length > most_tokens):
            batches.append([])
            tokens = 0
        batches[-1].append(index)
        tokens += length
    return batches


def pass_tokens(device: torch.device, behind: int = 0) -> int:
    """How many tokens are worth reading at once where no gradient asks for whole batches.

    Fewer leave a processor's cores idle, and the activations of more don't fit its caches; a GPU wants more.

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
