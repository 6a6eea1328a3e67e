"""Greedy decoding for networks that need padded rows instead of packed ones.

A recurrent layer can't exclude padding from its state, so prompts of equal length are read together. Rows that have
read equally many tokens can be decoded together, whatever their prompts' lengths. Rows that have read different numbers
of tokens can be, too, if the network masks the empty columns of a cache (`ia2.models.stacked_cache`); this is tested
when the network is loaded. A row whose response has ended leaves the batch.
"""

from collections.abc import Iterable, Iterator, Sequence

import torch
from jaxtyping import Int
from torch import Tensor
from transformers import Cache, PreTrainedModel

from ia2.models.forward import logits_behind_rows, response_logits
from ia2.models.layout import Positions
from ia2.models.responses import Decoded, ResponseBatch, Row
from ia2.models.row_forms import empty_cache, mixes_lengths, row_form_of
from ia2.models.sequences import TokenSequence
from ia2.models.sites import Activations, record
from ia2.models.stacked_cache import holds_states, keep_rows, stack, stacks


def rows_in_step(network: PreTrainedModel) -> "type[_Rows]":
    """Return the class that decodes a network's padded rows: with a cache, or without one."""
    return _RowsBehindCache if row_form_of(network).caches else _RowsReadAgain


class _Rows(ResponseBatch):
    """The responses being decoded, and the waiting prompts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.waiting: dict[int, list[int]] = {}
        """Indices of the waiting prompts, by prompt length."""
        for index in reversed(range(len(self.prompts))):
            self.waiting.setdefault(len(self.prompts[index]), []).append(index)

    def responses(self) -> Iterator[tuple[int, Decoded]]:
        """Yield a prompt's index and its decoded response, in order of completion."""
        while self.waiting or self.rows:
            yield from self.refill()
            if self.rows:
                yield from self.run_until_rows_change()

    def refill(self) -> Iterator[tuple[int, Decoded]]:
        """Let waiting prompts join the batch; yield the responses that end with their first token."""
        raise NotImplementedError

    def run_until_rows_change(self) -> Iterator[tuple[int, Decoded]]:
        """Decode until a response ends or a prompt can join; yield the responses that have ended."""
        raise NotImplementedError

    @property
    def free(self) -> int:
        """Return the number of prompts that can join the batch."""
        return self.size - len(self.rows)

    def taken_in(self, length: int) -> list[Row]:
        """Remove waiting prompts of this length, as many as the batch has room for, and return a row for each."""
        indices = self.waiting[length]
        rows = [Row(indices.pop(), length) for _ in range(min(self.free, len(indices)))]
        if not indices:
            del self.waiting[length]
        return rows

    def read(self, rows: Sequence[Row], cache: Cache | None) -> Int[Tensor, " rows"]:
        """Run the network on prompts and the tokens decoded so far; return the next token of each row."""
        texts = [TokenSequence((*self.prompts[row.index], *row.tokens), (0,)) for row in rows]
        batch, adapter_of_row = self.reader.laid_out(texts, [self.adapter_of[row.index] for row in rows])
        at = batch.at()
        with (
            self.reader.adapters.attached(adapter_of_row, one_token=batch.input_ids.shape[1] == 1),
            record(self.network, dict.fromkeys(self.sites, at)) as recorded,
        ):
            token = response_logits(self.network, batch, cache, at=at).argmax(-1)
        self.hand_out(rows, token, recorded.taken())
        return token

    def hand_out(self, rows: Sequence[Row], token: Int[Tensor, " rows"], read: Activations) -> None:
        """Append each response's token and the activations recorded with it."""
        for number, (row, chosen) in enumerate(zip(rows, token.tolist(), strict=True)):
            if row.ending is not None:
                continue  # an ended row that can't be removed from the cache
            row.take([chosen], self.limits)
            if read:
                row.recorded.append({site: values[number : number + 1] for site, values in read.items()})


class _RowsReadAgain(_Rows):
    """Decoding without a cache: the whole text is read again for each token, so rows of any length share a batch."""

    def refill(self) -> Iterator[tuple[int, Decoded]]:
        """Fill free rows with waiting prompts, the longest first."""
        while self.waiting and self.free:
            self.rows += self.taken_in(max(self.waiting))
        yield from ()

    def run_until_rows_change(self) -> Iterator[tuple[int, Decoded]]:
        """Decode one token for each row, and yield the responses that end."""
        self.read(self.rows, None)
        yield from _finished(self.rows)
        self.rows = [row for row in self.rows if row.ending is None]


class _RowsBehindCache(_Rows):
    """Decoding with a cache of the previous tokens."""

    cache: Cache
    token: Int[Tensor, " rows"]
    """Each row's next input token."""

    @property
    def tokens_read(self) -> list[int]:
        """Return each row's number of cached tokens, which excludes its newest token; irrelevant for ended rows."""
        return [row.length + len(row.tokens) - 1 for row in self.rows]

    def length_to_join(self, *, filling: bool = False) -> int | None:
        """Return the length of the prompts to prefill next; None if no waiting prompt may join the batch now.

        Args:
            filling: a refill is under way, so free rows are filled even if there are few.
        """
        if not self.waiting or not self.free:
            return None
        if mixes_lengths(self.network):
            worth_a_pass = filling or not self.rows or self.free >= self.size // 8
            return max(self.waiting) if worth_a_pass else None
        if not self.rows:
            return min(self.waiting)  # shortest first: as rows grow, longer prompts can join them
        length = self.tokens_read[0]
        return length if length in self.waiting and stacks(self.cache) else None

    def refill(self) -> Iterator[tuple[int, Decoded]]:
        """Prefill prompts that may join, and add their rows; yield the responses that end with their first token."""
        length = self.length_to_join()
        while length is not None:
            rows = self.taken_in(length)
            cache = self.reader.prefix.cache(len(rows))
            cache = empty_cache(self.network) if cache is None else cache
            token = self.read(rows, cache)
            going = [number for number, row in enumerate(rows) if row.ending is None]
            if going and not holds_states(cache):
                going = [*range(len(rows))]
            elif going and len(going) < len(rows):
                keep_rows(cache, going, length)
            yield from _finished(row for number, row in enumerate(rows) if number not in going)
            if going and self.rows:
                stack(self.cache, cache)
                self.token = torch.cat([self.token, token[going]])
            elif going:
                self.cache, self.token = cache, token[going]
            self.rows += [rows[number] for number in going]
            length = self.length_to_join(filling=True)

    def run_until_rows_change(self) -> Iterator[tuple[int, Decoded]]:
        """Decode in all rows until a response ends or a prompt may join; yield the responses that end."""
        everywhere = Positions(None, torch.arange(len(self.rows), device=self.network.device), 1)
        adapters = [self.adapter_of[row.index] for row in self.rows]
        with (
            self.reader.adapters.attached(adapters, one_token=True),
            record(self.network, dict.fromkeys(self.sites, everywhere)) as recorded,
        ):
            while not self._changes():
                read = self.tokens_read if mixes_lengths(self.network) else ()
                logits = logits_behind_rows(self.network, self.token, self.cache, read)
                self.token = logits.argmax(-1)
                self.hand_out(self.rows, self.token, recorded.taken())
        yield from _finished(self.rows)
        going = [number for number, row in enumerate(self.rows) if row.ending is None]
        if going and len(going) < len(self.rows):
            self.token = self.token[going]
            keep_rows(self.cache, going, max(self.tokens_read[number] for number in going))
        self.rows = [self.rows[number] for number in going]

    def _changes(self) -> bool:
        """Return whether a row must leave the batch now, or a prompt may join it."""
        ended = [row.ending is not None for row in self.rows]
        leaves = any(ended) if holds_states(self.cache) else all(ended)
        return leaves or self.length_to_join() is not None


def _finished(rows: Iterable[Row]) -> Iterator[tuple[int, Decoded]]:
    """Return the index and the decoded response of each ended row."""
    return ((row.index, row.finished()) for row in rows if row.ending is not None)
