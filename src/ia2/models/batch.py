"""Sequences of different length in one forward pass, and only what is asked for at their response positions.

Every token knows its sequence and its position in it, and the attention mask follows from those two alone. So it makes
no difference to a sequence what else is in the batch, on which side padding stands, whether there is any (the packed
layout has none), or whether a shared prefix was computed beforehand.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import Cache, PreTrainedConfig, PreTrainedModel

Layout = Literal["packed", "right", "left"]
"""How sequences share a batch: end to end in one row, or a row each with padding on one side."""

PADDING = -1
SHARED = -2
DEAR_WIDTH = 3000
"""The width of a row, in tokens, at which attention costs about as much as everything else (six hidden sizes)."""


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
    """The index of each token's sequence; PADDING where there is none."""
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
    device: torch.device | str = "cpu",
) -> Batch:
    """Arrange sequences as one batch.

    Args:
        sequences: what is to be read; each keeps its index in the order given.
        layout: see `Layout`.
        rows: which sequences share each row of a packed batch; by default as `shared_rows` says.
        skip: how many first tokens of every sequence are left out, since a shared prefix holds them.
        device: where the tensors are made.
    """
    inputs = [sequence.inputs[skip:] for sequence in sequences]
    if not inputs or any(len(sequence.prompt) <= skip for sequence in sequences):
        raise ValueError("every sequence must bring at least one prompt token of its own")
    if rows is None and layout == "packed":
        rows, _ = shared_rows(sequences, [0] * len(inputs), skip=skip)
    elif rows is None:
        rows = [[index] for index in range(len(inputs))]
    width = max(sum(len(inputs[index]) for index in row) for row in rows)
    row_of, first = [0] * len(inputs), [0] * len(inputs)
    for number, row in enumerate(rows):
        start = width - sum(len(inputs[index]) for index in row) if layout == "left" else 0
        for index in row:
            row_of[index], first[index] = number, start
            start += len(inputs[index])
    input_ids = torch.zeros(len(rows), width, dtype=torch.long)
    position_ids = torch.zeros(len(rows), width, dtype=torch.long)
    owner = torch.full((len(rows), width), PADDING, dtype=torch.long)
    at_row: list[int] = []
    at_column: list[int] = []
    example: list[int] = []
    response: list[int] = []
    for index, (sequence, tokens) in enumerate(zip(sequences, inputs, strict=True)):
        span = slice(first[index], first[index] + len(tokens))
        input_ids[row_of[index], span] = torch.tensor(tokens)
        position_ids[row_of[index], span] = torch.arange(skip, skip + len(tokens))
        owner[row_of[index], span] = index
        count = len(sequence.response)
        at_row += [row_of[index]] * count
        at_column += range(span.stop - count, span.stop)
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


class Keys(NamedTuple):
    """Whose keys stand in a cache, and at which place of their sequence each token was."""

    owner: Int[Tensor, "rows k"]
    """The index of each token's sequence; PADDING where there is none, SHARED in a prefix that all share."""
    position: Int[Tensor, "rows k"]

    def followed_by(self, batch: Batch) -> "Keys":
        """The same with the tokens of a batch behind them."""
        owner = torch.cat([self.owner, batch.owner], dim=1)
        return Keys(owner, torch.cat([self.position, batch.position_ids], dim=1))


def shared_keys(batch: Batch, length: int) -> Keys:
    """The keys of a prefix of this length that all of the batch's sequences share."""
    position = torch.arange(length, device=batch.owner.device).expand(batch.owner.shape[0], length)
    return Keys(torch.full_like(position, SHARED), position)


def shared_rows(
    sequences: Sequence[TokenSequence], groups: Sequence[int], *, skip: int = 0
) -> tuple[list[list[int]], list[int]]:
    """Which sequences share a row of a packed batch: some of one group, so that the batch costs least.

    Wide rows cost attention, which grows with the square of the width; narrow ones padding, which grows with how uneven
    they are. Some widths are tried, the longest sequence put first, each where it fits.

    Args:
        sequences: what is to be read.
        groups: the group of each, such as the adapter that reads it.
        skip: how many first tokens of every sequence are left out.

    Returns:
        The rows, each a list of sequences, ordered by group; and the group of each row.
    """
    lengths = [len(sequence.inputs) - skip for sequence in sequences]
    total = max(sum(lengths[i] for i, own in enumerate(groups) if own == group) for group in set(groups))
    tried = [max(lengths)]
    while tried[-1] < total:
        tried.append(min(tried[-1] * 9 // 8 + 1, total))
    filled = [_filled(lengths, groups, width) for width in tried]

    def cost(rows: list[tuple[int, list[int]]]) -> float:
        width = max(sum(lengths[index] for index in row) for _, row in rows)
        return len(rows) * width * (1 + width / DEAR_WIDTH)

    best = min(filled, key=cost)
    return [row for _, row in best], [group for group, _ in best]


def _filled(lengths: Sequence[int], groups: Sequence[int], width: int) -> list[tuple[int, list[int]]]:
    """Rows of at most this width, each with its group, the longest sequences first put where they fit."""
    rows: dict[int, list[list[int]]] = {}
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        own = rows.setdefault(groups[index], [])
        fitting = (row for row in own if sum(lengths[other] for other in row) + lengths[index] <= width)
        row = next(fitting, None)
        if row is None:
            own.append([index])
        else:
            row.append(index)
    return [(group, sorted(row)) for group in sorted(rows) for row in rows[group]]


def by_length(sequences: Sequence[TokenSequence], batch_size: int) -> list[list[int]]:
    """Indices of the sequences in batches of like length, so that little of a batch is padding."""
    order = sorted(range(len(sequences)), key=lambda index: len(sequences[index].inputs))
    return [order[start : start + batch_size] for start in range(0, len(order), batch_size)]


def visible(
    query: tuple[Int[Tensor, "rows q"], Int[Tensor, "rows q"]],
    key: tuple[Int[Tensor, "rows k"], Int[Tensor, "rows k"]],
    window: int | None,
) -> Bool[Tensor, "rows 1 q k"]:
    """Which keys each query token may attend to: earlier ones of its own sequence, or of a prefix that all share.

    Args:
        query: owner and position of each token that asks.
        key: owner and position of each token that may be attended to.
        window: how many last tokens are visible under sliding-window attention, the token itself counted.
    """
    (query_owner, query_position), (key_owner, key_position) = query, key
    distance = query_position[:, :, None] - key_position[:, None, :]
    same = (key_owner[:, None, :] == query_owner[:, :, None]) | (key_owner[:, None, :] == SHARED)
    seen = same & (distance >= 0)
    if window is not None:
        seen = seen & (distance < window)
    return seen[:, None]


def attention_masks(
    network: PreTrainedModel,
    query: tuple[Int[Tensor, "rows q"], Int[Tensor, "rows q"]],
    key: Keys | tuple[Int[Tensor, "rows k"], Int[Tensor, "rows k"]],
) -> Tensor | dict[str, Tensor]:
    """The mask in the form the network takes: one tensor, or one for each kind of layer where kinds differ.

    Raises:
        ValueError: the network has layers whose attention is neither full nor a sliding window.
    """
    config = network.config.get_text_config(decoder=True)
    kinds = set(getattr(config, "layer_types", None) or [_only_kind(config)])
    if unknown := kinds - {"full_attention", "sliding_attention"}:
        raise ValueError(f"{config.model_type}: layers of kind {sorted(unknown)} are not supported")
    windows = {kind: config.sliding_window if kind == "sliding_attention" else None for kind in sorted(kinds)}
    masks = {kind: _as_taken(visible(query, key, window), network) for kind, window in windows.items()}
    return masks if len(masks) > 1 or _takes_masks_by_kind(network) else next(iter(masks.values()))


def _only_kind(config: PreTrainedConfig) -> str:
    return "full_attention" if getattr(config, "sliding_window", None) is None else "sliding_attention"


def _takes_masks_by_kind(network: PreTrainedModel) -> bool:
    # the decoders that look a layer's mask up by its kind do so for every layer, also where all are of one kind
    return getattr(network.config.get_text_config(decoder=True), "layer_types", None) is not None


def _as_taken(seen: Bool[Tensor, "rows 1 q k"], network: PreTrainedModel) -> Tensor:
    if network.config._attn_implementation == "sdpa":
        return seen
    floor = torch.finfo(network.dtype).min
    return torch.zeros(seen.shape, dtype=network.dtype, device=seen.device).masked_fill(~seen, floor)


@contextmanager
def head_at(network: PreTrainedModel, at: Positions) -> Iterator[None]:
    """Have the language-model head read these positions alone; its output is (1, n, vocabulary) meanwhile."""

    def keep(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (arguments[0][at.row, at.column][None], *arguments[1:])

    head = network.get_output_embeddings()
    if head is None:
        raise ValueError(f"{network.config.model_type}: this model has no language-model head")
    handle = head.register_forward_pre_hook(keep)
    try:
        yield
    finally:
        handle.remove()


def forward(network: PreTrainedModel, batch: Batch, cache: Cache | None = None) -> None:
    """Run the decoder over a batch without the language-model head: for what hooks and caches keep of it."""
    _call(network.base_model, network, batch, cache)


def response_logits(
    network: PreTrainedModel, batch: Batch, cache: Cache | None = None, cached: Keys | None = None
) -> Float[Tensor, "n vocabulary"]:
    """The next-token logits at the batch's response positions, in float32.

    Args:
        network: a causal language model.
        batch: what it reads.
        cache: keys and values of earlier tokens; it is read and grown by this call.
        cached: whose tokens those are; by default a prefix that all sequences share.
    """
    with head_at(network, batch.at):
        logits: Tensor = _call(network, network, batch, cache, cached).logits
    return logits[0].float()


def _call(
    module: nn.Module, network: PreTrainedModel, batch: Batch, cache: Cache | None, cached: Keys | None = None
) -> Any:
    if cached is None:
        cached = shared_keys(batch, cache.get_seq_length() if cache is not None else 0)
    return module(
        input_ids=batch.input_ids,
        position_ids=batch.position_ids,
        attention_mask=attention_masks(network, (batch.owner, batch.position_ids), cached.followed_by(batch)),
        cache=cache,
        use_cache=cache is not None,
    )
