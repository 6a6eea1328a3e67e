"""Greedy decoding in batches, one token a step from a cache; attention outputs are recorded as it goes.

transformers' `generate` is not used: it can't keep attention outputs of chosen positions, nor start many prompts from
one prefill, and a row that has stopped costs as much there as one that goes on.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel

from ia2.adapters.bank import Bank
from ia2.models.layout import Batch, Positions, TokenSequence, by_length, lay_out
from ia2.models.preallocated_cache import growing
from ia2.models.prefix import NO_PREFILL, Prefill
from ia2.models.reader import Keys, response_logits, shared_keys
from ia2.models.sites import record_attention


@dataclass(frozen=True)
class Decoded:
    """What was decoded after one prompt."""

    tokens: tuple[int, ...]
    """All tokens but an end token."""
    ending: Literal["end", "stop", "length"]
    """Whether an end token came, the stop was met, or the most tokens were reached."""
    attention: Float[Tensor, "layers n hidden"] | None
    """Attention outputs at the positions that predict the tokens (and the end token, if it came); None if not asked."""


@dataclass
class _Row:
    """A prompt that is being continued."""

    index: int
    length: int
    """Tokens of the prompt, virtual ones counted."""
    tokens: list[int] = field(default_factory=list)
    attention: list[Float[Tensor, "layers hidden"]] = field(default_factory=list)

    def finished(self, ending: Literal["end", "stop", "length"]) -> Decoded:
        outputs = torch.stack(self.attention, dim=1) if self.attention else None
        return Decoded(tuple(self.tokens), ending, outputs)


@torch.no_grad()
def decode(
    network: PreTrainedModel,
    prompts: Sequence[tuple[int, ...]],
    *,
    most_tokens: int,
    end_tokens: frozenset[int],
    stops: Callable[[Sequence[int]], bool] = lambda tokens: False,
    prefill: Prefill = NO_PREFILL,
    bank: Bank | None = None,
    adapters: Sequence[int] = (),
    batch_size: int = 16,
    record: bool = False,
) -> Iterator[tuple[int, Decoded]]:
    """Continue prompts with the likeliest token again and again, and give out each as it is finished.

    Prompts of like length share a batch; one that is finished leaves it. What a prompt is continued with doesn't depend
    on the others (in float32; in less, ties may fall otherwise).

    Args:
        network: a causal language model, with or without an adapter.
        prompts: tokens of each prompt, a shared prefix included.
        most_tokens: tokens that are decoded at the most.
        end_tokens: any of these ends a response.
        stops: told all tokens decoded so far, says whether they hold what ends a response.
        prefill: keys and values of the prompts' shared prefix, as the network alone computes them.
        bank: adapters that continue prompts, each its own.
        adapters: which of them continues each prompt.
        batch_size: prompts that are continued at once.
        record: whether to keep attention outputs; those of one batch are held at a time.

    Yields:
        The index of a prompt and what was decoded after it, in the order in which they are finished.
    """
    if bank is not None and prefill.tokens:
        raise ValueError("adapters read the whole prompt: no prefill can be shared with a bank")
    sequences = [TokenSequence(prompt, (0,)) for prompt in prompts]
    for indices in by_length(sequences, batch_size):
        virtual = bank.virtual_tokens if bank is not None else 0
        rows = [_Row(index, virtual + len(prompts[index])) for index in indices]
        batch = lay_out(
            [sequences[index] for index in indices], layout="right", skip=len(prefill.tokens), device=network.device
        )
        cache = prefill.cache(len(rows))
        if bank is not None:
            cache = bank.prefix(torch.tensor([adapters[row.index] for row in rows], device=network.device))
            batch = batch.behind(virtual)
        cache = growing(cache)
        cached, owner = shared_keys(batch, cache.get_seq_length()), batch.example
        while rows:
            attached: AbstractContextManager[None] = nullcontext()
            if bank is not None:
                own = torch.tensor([adapters[row.index] for row in rows], device=network.device)
                attached = bank.attached(own, one_token=batch.input_ids.shape[1] == 1)
            with attached, record_attention(network, batch.at, detach=True) if record else nullcontext() as recorded:
                chosen = response_logits(network, batch, cache, cached).argmax(-1)
            outputs = recorded.stacked() if recorded is not None else None
            cached = cached.followed_by(batch)
            going: list[int] = []
            for place, (row, token) in enumerate(zip(rows, chosen.tolist(), strict=True)):
                if outputs is not None:
                    row.attention.append(outputs[:, place])
                if token in end_tokens:
                    yield row.index, row.finished("end")
                    continue
                row.tokens.append(token)
                if stops(row.tokens):
                    yield row.index, row.finished("stop")
                elif len(row.tokens) == most_tokens:
                    yield row.index, row.finished("length")
                else:
                    going.append(place)
            if 0 < len(going) < len(rows):
                kept = torch.tensor(going, device=network.device)
                cache.batch_select_indices(kept)
                cached, owner = Keys(cached.owner[kept], cached.position[kept]), owner[kept]
            rows = [rows[place] for place in going]
            if rows:
                batch = _next_tokens(rows, owner)


def _next_tokens(rows: Sequence[_Row], owner: Int[Tensor, " rows"]) -> Batch:
    """A batch of the one token that each row reads next, and predicts another from.

    Args:
        rows: what goes on.
        owner: the number by which the keys in the cache know each of them.
    """
    device = owner.device
    place = torch.arange(len(rows), device=device)
    return Batch(
        torch.tensor([[row.tokens[-1]] for row in rows], device=device),
        torch.tensor([[row.length + len(row.tokens) - 1] for row in rows], device=device),
        owner[:, None],
        Positions(place, torch.zeros_like(place)),
        owner,
        torch.zeros_like(place),
        len(rows),
    )
