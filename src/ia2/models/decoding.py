"""Greedy decoding in batches, one token a step from a cache; sites are recorded as it goes.

transformers' `generate` is not used: it can't keep activations of chosen positions, nor start many prompts from one
prefill, and a row that has stopped costs as much there as one that goes on.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from ia2.errors import InputError
from ia2.models.forward import response_logits
from ia2.models.layout import Batch, Positions, lay_out
from ia2.models.masks import Keys, shared_keys
from ia2.models.packing import by_length
from ia2.models.preallocated_cache import growing
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import Activations, Site, layer_count, record

Ending = Literal["end", "stop", "length"]
"""Whether an end token came, the stop was met, or the most tokens were reached."""


@dataclass(frozen=True)
class Decoded:
    """What was decoded after one prompt."""

    tokens: tuple[int, ...]
    """All tokens but an end token."""
    ending: Ending
    activations: Activations
    """What was recorded at the positions that predict the tokens (and the end token, if it came)."""


@dataclass(frozen=True)
class Limits:
    """What ends a response."""

    most_tokens: int
    """Tokens that are decoded at the most."""
    end_tokens: frozenset[int] = frozenset()
    """Any of these ends a response, and is no part of it."""
    stops: Callable[[Sequence[int]], bool] = lambda tokens: False
    """Told all tokens decoded so far, says whether they hold what ends a response."""

    def ending(self, tokens: Sequence[int]) -> Ending | None:
        """Why a response of these tokens ends here; None where it goes on."""
        if self.stops(tokens):
            return "stop"
        return "length" if len(tokens) == self.most_tokens else None


@dataclass
class _Row:
    """A prompt that is being continued."""

    index: int
    length: int
    """Tokens of the prompt, virtual ones counted."""
    tokens: list[int] = field(default_factory=list)
    recorded: list[dict[Site, Tensor]] = field(default_factory=list)
    """What was read at each step, a position each."""

    def finished(self, ending: Ending) -> Decoded:
        sites = self.recorded[0] if self.recorded else ()
        activations = {site: torch.stack([step[site] for step in self.recorded]) for site in sites}
        return Decoded(tuple(self.tokens), ending, activations)


@torch.no_grad()
def decode(
    reader: Reader,
    prompts: Sequence[tuple[int, ...]],
    limits: Limits,
    *,
    adapters: Sequence[int] | None = None,
    batch_size: int = 16,
    sites: Sequence[Site] = (),
) -> Iterator[tuple[int, Decoded]]:
    """Continue prompts with the likeliest token again and again, and give out each as it is finished.

    Prompts of like length share a batch; one that is finished leaves it. What a prompt is continued with doesn't depend
    on the others (in float32; in less, ties may fall otherwise).

    Args:
        reader: the network, its adapters, and the prompts' shared prefix.
        prompts: tokens of each prompt, a shared prefix included.
        limits: what ends a response.
        adapters: which of the reader's adapters continues each prompt; by default the first.
        batch_size: prompts that are continued at once.
        sites: what to record, at response positions; what is recorded of one batch is held at a time.

    Yields:
        The index of a prompt and what was decoded after it, in the order in which they are finished.

    Raises:
        InputError: a site is to be read at other positions than a response's, or is logits.
    """
    if wrong := [site for site in sites if site.positions != "response" or site.name == "logits"]:
        raise InputError(f"{wrong[0]}: this isn't recorded while a response is decoded; read the response again.")
    adapter_of = [0] * len(prompts) if adapters is None else list(adapters)
    for indices in by_length([TokenSequence(prompt, (0,)) for prompt in prompts], batch_size):
        yield from _decode_batch(reader, prompts, limits, indices, adapter_of, sites)


def _decode_batch(
    reader: Reader,
    prompts: Sequence[tuple[int, ...]],
    limits: Limits,
    indices: Sequence[int],
    adapter_of: Sequence[int],
    sites: Sequence[Site],
) -> Iterator[tuple[int, Decoded]]:
    """Continue the prompts of one batch."""
    network, device, virtual = reader.network, reader.network.device, reader.adapters.virtual_tokens
    layers = layer_count(network)
    rows = [_Row(index, virtual + len(prompts[index])) for index in indices]
    sequences = [TokenSequence(prompts[index], (0,)) for index in indices]
    batch = lay_out(sequences, layout="right", skip=len(reader.prefix.tokens), device=device).behind(virtual)
    adapter_of_row = torch.tensor([adapter_of[index] for index in indices], device=device)
    cache = reader.adapters.prefix(adapter_of_row)
    cache = growing(reader.prefix.cache(len(rows)) if cache is None else cache)
    cached, owner = shared_keys(batch, cache.get_seq_length()), batch.owner.amax(1)
    at = batch.at()
    while rows:
        one_token = batch.input_ids.shape[1] == 1
        with (
            reader.adapters.attached(adapter_of_row, one_token=one_token),
            record(network, dict.fromkeys(sites, at)) as recorded,
        ):
            chosen = response_logits(network, batch, cache, cached, at=at).argmax(-1)
        read = recorded.taken(layers)
        cached = cached.followed_by(batch)
        going: list[int] = []
        for number, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
            if sites:
                row.recorded.append({site: read[site][number] for site in sites})
            if token in limits.end_tokens:
                yield row.index, row.finished("end")
                continue
            row.tokens.append(token)
            if (ending := limits.ending(row.tokens)) is not None:
                yield row.index, row.finished(ending)
            else:
                going.append(number)
        if 0 < len(going) < len(rows):
            staying = torch.tensor(going, device=device)
            cache.batch_select_indices(staying)
            cached = Keys(cached.owner[staying], cached.position[staying])
            owner, adapter_of_row = owner[staying], adapter_of_row[staying]
        rows = [rows[number] for number in going]
        if rows:
            batch, at = _next_tokens(rows, owner)


def _next_tokens(rows: Sequence[_Row], owner: Int[Tensor, " rows"]) -> tuple[Batch, Positions]:
    """A batch of the one token that each row reads next, and predicts another from, and where those stand.

    Args:
        rows: what goes on.
        owner: the number by which the keys in the cache know each of them.
    """
    device = owner.device
    numbers = torch.arange(len(rows), device=device)
    batch = Batch(
        torch.tensor([[row.tokens[-1]] for row in rows], device=device),
        torch.tensor([[row.length + len(row.tokens) - 1] for row in rows], device=device),
        owner[:, None],
        (),
        (),
    )
    return batch, Positions(numbers, torch.zeros_like(numbers), numbers, 1)
