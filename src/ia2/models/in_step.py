"""Greedy decoding for networks whose rows are padded: prompts of one length are continued together, in step.

A layer with a state has no way to leave padding out of it, so that a row is nothing but its own tokens here. Prompts of
other lengths wait for their turn.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from ia2.models.forward import logits_behind_rows, response_logits
from ia2.models.layout import Positions
from ia2.models.reader import Reader
from ia2.models.responses import Decoded, Limits, Row
from ia2.models.row_forms import empty_cache, row_form_of
from ia2.models.sequences import TokenSequence
from ia2.models.sites import Site, record


def decode_in_step(
    reader: Reader,
    prompts: Sequence[tuple[int, ...]],
    limits: Limits,
    adapter_of: Sequence[int],
    sites: Sequence[Site],
    batch_size: int,
) -> Iterator[tuple[int, Decoded]]:
    """Continue prompts with the likeliest token again and again; see `ia2.models.decoding.decode`.

    Args:
        reader: the network, its adapters, and the prompts' shared prefix.
        prompts: tokens of each prompt, a shared prefix included.
        limits: what ends a response.
        adapter_of: which of the reader's adapters continues each prompt.
        sites: what to record, at response positions.
        batch_size: prompts that are continued at once.

    Yields:
        The index of a prompt and what was decoded after it.
    """
    of_length: dict[int, list[int]] = {}
    for index in sorted(range(len(prompts)), key=lambda index: -len(prompts[index])):
        of_length.setdefault(len(prompts[index]), []).append(index)
    for indices in of_length.values():
        for start in range(0, len(indices), batch_size):
            chosen = indices[start : start + batch_size]
            rows = [Row(index, len(prompts[index])) for index in chosen]
            adapters = [adapter_of[index] for index in chosen]
            _continue(reader, rows, [prompts[index] for index in chosen], limits, adapters, sites)
            yield from ((row.index, row.finished()) for row in rows)


def _continue(
    reader: Reader,
    rows: Sequence[Row],
    prompts: Sequence[tuple[int, ...]],
    limits: Limits,
    adapters: Sequence[int],
    sites: Sequence[Site],
) -> None:
    """Write the responses of prompts of one length, until all have ended."""
    network, texts = reader.network, [list(prompt) for prompt in prompts]
    everywhere = Positions(None, torch.arange(len(rows), device=network.device), 1)
    cache = reader.prefix.cache(len(rows))
    if cache is None and row_form_of(network).caches:
        cache = empty_cache(network)
    token: Tensor | None = None
    while any(row.ending is None for row in rows):
        batch, adapter_of_row = reader.laid_out([TokenSequence(tuple(text), (0,)) for text in texts], adapters)
        one_token = batch.input_ids.shape[1] == 1 or (token is not None and cache is not None)
        at = batch.at() if token is None or cache is None else everywhere
        with (
            reader.adapters.attached(adapter_of_row, one_token=one_token),
            record(network, dict.fromkeys(sites, at)) as recorded,
        ):
            if token is None or cache is None:
                logits = response_logits(network, batch, cache, at=at)
            else:
                logits = logits_behind_rows(network, token, cache)
        token = logits.argmax(-1)
        _take(rows, token, recorded.taken(), limits)
        for text, chosen in zip(texts, token.tolist(), strict=True):
            text.append(chosen)


def _take(rows: Sequence[Row], token: Tensor, read: dict[Site, Tensor], limits: Limits) -> None:
    """Hand each response that hasn't ended its token, and what was recorded at it."""
    for number, (row, chosen) in enumerate(zip(rows, token.tolist(), strict=True)):
        if row.ending is None:
            row.take([chosen], limits)
            if read:
                row.recorded.append({site: values[number : number + 1] for site, values in read.items()})
