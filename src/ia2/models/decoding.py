"""Batched greedy decoding with a key-value cache, one token per step, with optional recording of sites.

transformers' `generate` isn't used: it can't keep activations at chosen positions, start many prompts from one prefill,
or hand the slot of a finished response to a waiting prompt.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import Cache

from ia2.errors import InputError
from ia2.models.forward import next_token_logits, response_logits
from ia2.models.in_step import rows_in_step
from ia2.models.layout import Positions, lay_out
from ia2.models.memory import responses_that_fit
from ia2.models.packing import by_length
from ia2.models.pass_limits import attempt, no_room, pass_limit
from ia2.models.reader import Reader
from ia2.models.responses import Decoded, Limits, ResponseBatch, Row
from ia2.models.row_forms import empty_cache, row_form_of
from ia2.models.sequences import TokenSequence
from ia2.models.sites import Site, record
from ia2.models.slot_cache import ROOM, SlotCache
from ia2.models.transfer import on_device

STEPS_UNREAD = {"cuda": 8}
"""Decoding steps between two reads of the chosen tokens, by device type; 1 if not listed.

A read synchronises with the GPU. The steps decoded for a response after its end and before the next read are wasted."""


@torch.no_grad()
def decode(
    reader: Reader,
    prompts: Sequence[tuple[int, ...]],
    limits: Limits,
    *,
    adapters: Sequence[int] | None = None,
    batch_size: int | None = None,
    sites: Sequence[Site] = (),
) -> Iterator[tuple[int, Decoded]]:
    """Decode greedily after each prompt, and yield each response when it has finished.

    When a response ends, its slot goes to the longest waiting prompt. A response doesn't depend on the other prompts,
    except that below float32 near-ties may resolve differently.

    Args:
        reader: the network, its adapters, and the prompts' shared prefix.
        prompts: each prompt's tokens, including a shared prefix.
        limits: conditions that end a response.
        adapters: index of the reader's adapter for each prompt; by default 0.
        batch_size: number of prompts decoded at once; by default, for each adapter, as many as fit in memory.
        sites: sites to record at response positions; activations stay in memory until the response is yielded.

    Yields:
        A prompt's index and its decoded response, in order of completion.

    Raises:
        InputError: a site has positions other than `response` or is logits, or a single response doesn't fit in the
            device's memory.
    """
    if wrong := [site for site in sites if site.positions != "response" or site.name == "logits"]:
        raise InputError(f"{wrong[0]}: this isn't recorded while a response is decoded; read the response again.")
    adapter_of = [0] * len(prompts) if adapters is None else list(adapters)
    if batch_size is None and prompts:
        tokens = reader.adapters.virtual_tokens + max(map(len, prompts)) + limits.max_tokens
        copies = len(set(adapter_of))
        batch_size = copies * responses_that_fit(reader.network, copies * tokens, len(sites))
    batch_kind = _Slots if row_form_of(reader.network).packs else rows_in_step(reader.network)
    limit, left = pass_limit(reader.network), list(range(len(prompts)))
    while left:
        size = min(batch_size or 1, len(left), limit.responses or len(left))
        of_those = [adapter_of[index] for index in left]
        waiting = [prompts[index] for index in left]
        running = batch_kind(reader, waiting, limits, of_those, sites, size).responses()
        ended: set[int] = set()
        while (finished := attempt(partial(next, running, None)))[0] is not None:
            number, decoded = finished[0]
            ended.add(left[number])
            yield left[number], decoded
        left = [index for index in left if index not in ended] if finished[1] is not None else []
        if finished[1] is not None:
            if size == 1:
                raise no_room(reader.network, "one response", finished[1])
            # unfinished responses restart from their prompts, with the same result
            limit.responses = -(-size // 2)
            limit.say()


@dataclass(frozen=True)
class _PromptsRead:
    """Prompts after prefill: their rows, their cache, and the first token of each response."""

    rows: list[Row]
    cache: Cache
    token: Int[Tensor, " rows"]


class _Slots(ResponseBatch):
    """The batch of responses being decoded, one per slot; the slot of an ended response is free for another prompt."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.device = self.network.device
        self.cache: SlotCache | None = None
        self.token = self.column = torch.zeros(0, dtype=torch.long, device=self.device)
        """Each slot's next input token, and its position in the sequence, which is also its cache column."""

    def responses(self) -> Iterator[tuple[int, Decoded]]:
        """Yield a prompt's index and its decoded response, in order of completion, the longest prompts first."""
        order = by_length([TokenSequence(prompt, (0,)) for prompt in self.prompts])
        waiting = deque(reversed(order[0]) if order else ())
        while waiting or self.rows:
            if waiting and self.worth_refilling:
                yield from self.refill([waiting.popleft() for _ in range(min(self.free, len(waiting)))])
            elif self.ended and not waiting:
                self.drop_ended()
            if len(self.ended) < len(self.rows):
                yield from self.run_until_one_ends()

    @property
    def ended(self) -> list[int]:
        """Return the slots whose response has ended."""
        return [slot for slot, row in enumerate(self.rows) if row.ending is not None]

    @property
    def free(self) -> int:
        """Return the number of slots that new prompts can take."""
        return len(self.ended) if self.rows else self.size

    @property
    def worth_refilling(self) -> bool:
        """Return whether enough slots are free to justify a prefill pass."""
        return self.free >= max(1, self.size // 8)

    def refill(self, indices: Sequence[int]) -> Iterator[tuple[int, Decoded]]:
        """Prefill prompts and give each a slot; yield at once the responses that end with their first token."""
        read = self._read(indices)
        if self.cache is None:
            room = max(row.length for row in read.rows) + min(self.limits.max_tokens, ROOM)
            self.cache = SlotCache(read.cache, room)
            self.rows, self.token = list(read.rows), read.token
        else:
            going = [number for number, row in enumerate(read.rows) if row.ending is None]
            row_of_slot = dict(zip(self.ended, going, strict=False))
            self.cache.refill(row_of_slot, read.cache)
            for slot, number in row_of_slot.items():
                self.rows[slot] = read.rows[number]
            slots, numbers = on_device([[*row_of_slot], [*row_of_slot.values()]], self.device)
            self.token = self.token.index_copy(0, slots, read.token.index_select(0, numbers))
        for row in read.rows:
            if row.ending is not None:
                yield row.index, row.finished()

    def drop_ended(self) -> None:
        """Remove the slots whose response has ended from the batch."""
        going = [slot for slot, row in enumerate(self.rows) if row.ending is None]
        self.rows = [self.rows[slot] for slot in going]
        if self.cache is not None and going:
            staying = on_device(going, self.device)
            self.cache.keep(staying)
            self.token = self.token.index_select(0, staying)

    def run_until_one_ends(self) -> Iterator[tuple[int, Decoded]]:
        """Decode in all slots until at least one response ends; yield those that end."""
        before = set(self.ended)
        assert self.cache is not None, "refill has made it"
        self._point()
        everywhere = Positions(None, torch.arange(len(self.rows), device=self.device), 1)
        adapters = [self.adapter_of[row.index] for row in self.rows]
        with (
            self.reader.adapters.attached(adapters, one_token=True),
            record(self.network, dict.fromkeys(self.sites, everywhere)) as recorded,
        ):
            while set(self.ended) == before:
                chosen, read = list[Tensor](), list[dict[Site, Tensor]]()
                for step in range(self._steps()):
                    live = [row for row in self.rows if row.ending is None]
                    width = max(row.length + len(row.tokens) for row in live) + step
                    self.cache.next_token(self.column, width)
                    logits = next_token_logits(self.network, self.token, self.column, self.cache, width)
                    self.token = logits.argmax(-1)
                    self.column = self.column + self._live
                    chosen.append(self.token)
                    read.append(recorded.taken())
                self._take(torch.stack(chosen, dim=1).tolist(), read)
        for slot in set(self.ended) - before:
            yield self.rows[slot].index, self.rows[slot].finished()

    def _steps(self) -> int:
        """Return the number of steps to decode before the tokens are read back."""
        left = max(self.limits.max_tokens - len(row.tokens) for row in self.rows if row.ending is None)
        return min(left, STEPS_UNREAD.get(self.device.type, 1))

    def _take(self, tokens: Sequence[Sequence[int]], read: Sequence[dict[Site, Tensor]]) -> None:
        """Append the decoded tokens and the recorded activations to each live response."""
        steps = {site: _stacked([at_step[site] for at_step in read]) for site in self.sites}
        for slot, row in enumerate(self.rows):
            if row.ending is None:
                count = row.take(tokens[slot], self.limits)
                if steps:
                    row.recorded.append({site: values[slot, :count] for site, values in steps.items()})

    def _point(self) -> None:
        """Set the cache column of each slot's next token; an ended slot overwrites the last token of its prompt."""
        columns = [row.length - 1 if row.ending is not None else row.length + len(row.tokens) - 1 for row in self.rows]
        self.column = on_device(columns, self.device)
        self._live = on_device([row.ending is None for row in self.rows], self.device)

    def _read(self, indices: Sequence[int]) -> _PromptsRead:
        """Prefill prompts and choose the first token of each response."""
        virtual = self.reader.adapters.virtual_tokens
        rows = [Row(index, virtual + len(self.prompts[index])) for index in indices]
        sequences = [TokenSequence(self.prompts[index], (0,)) for index in indices]
        batch = lay_out(sequences, layout="right", skip=len(self.reader.prefix.tokens), device=self.device)
        batch = batch.behind(virtual)
        adapters = [self.adapter_of[index] for index in indices]
        cache = self.reader.adapters.prefix(adapters)
        cache = self.reader.prefix.cache(len(rows)) if cache is None else cache
        cache = empty_cache(self.network) if cache is None else cache
        at = batch.at()
        with (
            self.reader.adapters.attached(adapters, one_token=batch.input_ids.shape[1] == 1),
            record(self.network, dict.fromkeys(self.sites, at)) as recorded,
        ):
            token = response_logits(self.network, batch, cache, at=at).argmax(-1)
        read = recorded.taken()
        for number, (row, first) in enumerate(zip(rows, token.tolist(), strict=True)):
            row.take([first], self.limits)
            if self.sites:
                row.recorded.append({site: read[site][number : number + 1] for site in self.sites})
        return _PromptsRead(rows, cache, token)


def _stacked(steps: Sequence[Float[Tensor, "rows layers width"]]) -> Float[Tensor, "rows steps layers width"]:
    """Stack the activations of several steps; those of a single step aren't copied."""
    return steps[0][:, None] if len(steps) == 1 else torch.stack(list(steps), dim=1)
