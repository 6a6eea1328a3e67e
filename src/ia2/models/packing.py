"""Assign sequences to rows of a batch and to forward passes, with little padding."""

from collections.abc import Mapping, Sequence
from functools import partial

import torch

from ia2.models.sequences import TokenSequence, shared_tokens

DEAR_WIDTH = 3000
"""Row width in tokens at which attention costs about as much as everything else (six times the hidden size)."""
CPU_PASS_TOKENS, GPU_PASS_TOKENS = 1024, 16384


def common_tokens(sequences: Sequence[TokenSequence], skip: int, share: bool) -> int:
    """Return the number of leading tokens that a row holds once for all of these sequences, including skipped ones."""
    return max(skip, len(shared_tokens(sequences))) if share and len(sequences) > 1 else skip


def shared_rows(
    sequences: Sequence[TokenSequence], groups: Sequence[int], *, skip: int = 0, share: bool = True
) -> tuple[list[list[int]], list[int]]:
    """Assign sequences to rows of a packed batch, each row from a single group, at the lowest cost.

    Wide rows are expensive in attention, which is quadratic in width; narrow rows waste padding on uneven lengths.
    Several widths are tried, each filled first-fit with the longest sequences first.

    Args:
        sequences: the sequences to read.
        groups: each sequence's group, such as the adapter that reads it.
        skip: number of leading tokens of every sequence to leave out.
        share: whether the tokens that all prompts of a group begin with occur once per row.

    Returns:
        The rows, each a list of sequence indices, ordered by group; and each row's group.
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
    best = min(filled, key=partial(_cost, lengths, begun))
    return [row for _, row in best], [group for group, _ in best]


def _cost(lengths: Sequence[int], begun: Mapping[int, int], rows: Sequence[tuple[int, list[int]]]) -> float:
    """Return the relative time of a pass over rows, in which attention takes more of wide ones."""
    width = max(begun[group] + sum(lengths[index] for index in row) for group, row in rows)
    return len(rows) * width * (1 + width / DEAR_WIDTH)


def _filled(
    lengths: Sequence[int], groups: Sequence[int], begun: Mapping[int, int], width: int
) -> list[tuple[int, list[int]]]:
    """Return rows of at most this width with their groups, filled first-fit with the longest sequences first.

    A row of a group begins with `begun[group]` shared tokens.
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
    sequences: Sequence[TokenSequence], batch_size: int | None = None, *, max_tokens: int | None = None, skip: int = 0
) -> list[list[int]]:
    """Return the sequences' indices in batches of similar length, which have little padding.

    Args:
        sequences: the sequences to read.
        batch_size: maximum number of sequences per batch.
        max_tokens: maximum number of tokens per batch, unless a single sequence has more.
        skip: number of leading tokens of every sequence that don't count.
    """
    batches: list[list[int]] = []
    tokens = 0
    for index in sorted(range(len(sequences)), key=lambda index: len(sequences[index].inputs)):
        length = len(sequences[index].inputs) - skip
        many = batch_size is not None and bool(batches) and len(batches[-1]) == batch_size
        if not batches or many or (max_tokens is not None and tokens + length > max_tokens):
            batches.append([])
            tokens = 0
        batches[-1].append(index)
        tokens += length
    return batches


def pass_tokens(device: torch.device, behind: int = 0) -> int:
    """Return the number of tokens worth reading in one pass when no gradient requires whole batches.

    On a CPU, fewer tokens leave cores idle, and the activations of more don't fit in its caches; a GPU needs more.

    Args:
        device: the device that runs the pass.
        behind: number of cached tokens before every sequence, whose keys and values need memory as well.
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
    """Return the sequences' indices for each forward pass without gradients, grouped by similar length.

    Args:
        sequences: the sequences to read.
        batch_size: maximum number of sequences per pass; by default as many as fit in `pass_tokens`.
        device: the device that runs the passes.
        skip: number of leading tokens of every sequence that are cached.
        copies: number of copies of each sequence in a pass, such as one per adapter.
    """
    room = pass_tokens(device, skip) // copies if batch_size is None else None
    return by_length(sequences, batch_size, max_tokens=room, skip=skip)
