"""Greedy decoding in batches, one token a step from a cache; sites are recorded as it goes.

transformers' `generate` is not used: it can't keep activations of chosen positions, nor start many prompts from one
prefill, nor give the place of a response that has ended to a prompt that waits.
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
from ia2.models.in_step import decode_in_step
from ia2.models.layout import Positions, lay_out
from ia2.models.memory import responses_that_fit
from ia2.models.packing import by_length
from ia2.models.pass_limits import attempt, no_room, pass_limit
from ia2.models.reader import Reader
from ia2.models.responses import Decoded, Limits, Row
from ia2.models.row_forms import empty_cache, row_form_of
from ia2.models.sequences import TokenSequence
from ia2.models.sites import Site, record
from ia2.models.slot_cache import ROOM, SlotCache
from ia2.models.transfer import on_device

STEPS_UNREAD = {"cuda": 8}
"""On which devices how many tokens are chosen before they are read back: reading back waits for all that a device has
been told to do, and a response that ends meanwhile costs the rest of them. Elsewhere each is read at once."""


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
    """Continue prompts with the likeliest token again and again, and give out each as it is finished.

    Where a response ends, its place is given to a prompt that waits, the longest first. What a prompt is continued with
    doesn't depend on the others (in float32; in less, ties may fall otherwise).

    Args:
        reader: the network, its adapters, and the prompts' shared prefix.
        prompts: tokens of each prompt, a shared prefix included.
        limits: what ends a response.
        adapters: which of the reader's adapters continues each prompt; by default the first.
        batch_size: prompts that are continued at once; by default as many for each adapter as fit in memory.
        sites: what to record, at response positions; it is held until a response is given out.

    Yields:
        The index of a prompt and what was decoded after it, in the order in which they are finished.

    Raises:
        InputError: a site is to be read at other positions than a response's, or is logits; or the device has no room
            for one response.
    """
    if wrong := [site for site in sites if site.positions != "response" or site.name == "logits"]:
        raise InputError(f"{wrong[0]}: this isn't recorded while a response is decoded; read the response again.")
    adapter_of = [0] * len(prompts) if adapters is None else list(adapters)
    if batch_size is None and prompts:
        tokens = reader.adapters.virtual_tokens + max(map(len, prompts)) + limits.most_tokens
        copies = len(set(adapter_of))
        batch_size = copies * responses_that_fit(reader.network, copies * tokens, len(sites))
    limit, left = pass_limit(reader.network), list(range(len(prompts)))
    while left:
        size = min(batch_size or 1, len(left), limit.responses or len(left))
        of_those = [adapter_of[index] for index in left]
        running = _decoded(reader, [prompts[index] for index in left], limits, of_those, sites, size)
        ended: set[int] = set()
        while (finished := attempt(partial(next, running, None)))[0] is not None:
            number, decoded = finished[0]
            ended.add(left[number])
            yield left[number], decoded
        left = [index for index in left if index not in ended] if finished[1] is not None else []
        if finished[1] is not None:
            if size == 1:
                raise no_room(reader.network, "one response", finished[1])
            # those that were under way begin anew, which changes none of them
            limit.responses = -(-size // 2)
            limit.say()


def _decoded(
    reader: Reader,
    prompts: Sequence[tuple[int, ...]],
    limits: Limits,
    adapter_of: Sequence[int],
    sites: Sequence[Site],
    size: int,
) -> Iterator[tuple[int, Decoded]]:
    """What `decode` gives, `size` prompts at a time."""
    if not row_form_of(reader.network).packs:
        yield from decode_in_step(reader, prompts, limits, adapter_of, sites, size)
        return
    order = by_length([TokenSequence(prompt, (0,)) for prompt in prompts])
    waiting = deque(reversed(order[0]) if order else ())
    slots = _Slots(reader, prompts, limits, adapter_of, sites, size)
    while waiting or slots.rows:
        if waiting and slots.worth_refilling:
            yield from slots.refill([waiting.popleft() for _ in range(min(slots.free, len(waiting)))])
        elif slots.ended and not waiting:
            slots.drop_ended()
        if len(slots.ended) < len(slots.rows):
            yield from slots.run_until_one_ends()


@dataclass(frozen=True)
class _PromptsRead:
    """Prompts that were read, and the token that each is continued with first."""

    rows: list[Row]
    cache: Cache
    token: Int[Tensor, " rows"]


class _Slots:
    """The responses that are being written, each in its slot; a slot whose response has ended waits for another."""

    def __init__(
        self,
        reader: Reader,
        prompts: Sequence[tuple[int, ...]],
        limits: Limits,
        adapter_of: Sequence[int],
        sites: Sequence[Site],
        size: int,
    ) -> None:
        self.reader, self.prompts, self.limits = reader, prompts, limits
        self.adapter_of, self.sites, self.size = adapter_of, sites, size
        self.network, self.device = reader.network, reader.network.device
        self.rows: list[Row] = []
        self.cache: SlotCache | None = None
        self.token = self.column = torch.zeros(0, dtype=torch.long, device=self.device)
        """The token of each slot that is read next, and its place in the sequence, which is its column in the cache."""

    @property
    def ended(self) -> list[int]:
        """The slots whose response has ended."""
        return [slot for slot, row in enumerate(self.rows) if row.ending is not None]

    @property
    def free(self) -> int:
        """How many prompts could be taken in."""
        return len(self.ended) if self.rows else self.size

    @property
    def worth_refilling(self) -> bool:
        """Whether so many slots are free that reading prompts for them is worth a pass."""
        return self.free >= max(1, self.size // 8)

    def refill(self, indices: Sequence[int]) -> Iterator[tuple[int, Decoded]]:
        """Read prompts, and give a slot to each that isn't finished with its first token."""
        read = self._read(indices)
        if self.cache is None:
            room = max(row.length for row in read.rows) + min(self.limits.most_tokens, ROOM)
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
        """Go on with the slots whose response hasn't ended."""
        going = [slot for slot, row in enumerate(self.rows) if row.ending is None]
        self.rows = [self.rows[slot] for slot in going]
        if self.cache is not None and going:
            staying = on_device(going, self.device)
            self.cache.keep(staying)
            self.token = self.token.index_select(0, staying)

    def run_until_one_ends(self) -> Iterator[tuple[int, Decoded]]:
        """Go on with all, and give out what ends."""
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
        """How many tokens are chosen before they are read back."""
        left = max(self.limits.most_tokens - len(row.tokens) for row in self.rows if row.ending is None)
        return min(left, STEPS_UNREAD.get(self.device.type, 1))

    def _take(self, tokens: Sequence[Sequence[int]], read: Sequence[dict[Site, Tensor]]) -> None:
        """Hand each response the tokens that were chosen for it, and what was recorded meanwhile."""
        steps = {site: _stacked([at_step[site] for at_step in read]) for site in self.sites}
        for slot, row in enumerate(self.rows):
            if row.ending is None:
                count = row.take(tokens[slot], self.limits)
                if steps:
                    row.recorded.append({site: values[slot, :count] for site, values in steps.items()})

    def _point(self) -> None:
        """Say where the next token of each slot stands; one whose response has ended writes over its prompt's last."""
        columns = [row.length - 1 if row.ending is not None else row.length + len(row.tokens) - 1 for row in self.rows]
        self.column = on_device(columns, self.device)
        self._live = on_device([row.ending is None for row in self.rows], self.device)

    def _read(self, indices: Sequence[int]) -> _PromptsRead:
        """Read prompts, and choose the first token of each."""
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
    """What was read at some steps; nothing is copied where it is one."""
    return steps[0][:, None] if len(steps) == 1 else torch.stack(list(steps), dim=1)
