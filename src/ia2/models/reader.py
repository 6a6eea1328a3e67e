"""Forward passes of a network with its adapters, after a prefix shared by all prompts.

Layout, masks, caches, hooks and batch size are decided here; callers only name sequences and sites.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from ia2.models.attachment import UNADAPTED, AdapterOfRow, Attachment
from ia2.models.forward import forward, response_logits
from ia2.models.layout import Batch, Layout, Positions, lay_out
from ia2.models.packing import passes, shared_rows
from ia2.models.pass_limits import attempt, no_room, pass_limit
from ia2.models.prefix import NO_PREFILL, Prefill, prefill
from ia2.models.row_forms import row_form_of
from ia2.models.sequences import TokenSequence, shared_tokens
from ia2.models.sites import FINAL_FEED_FORWARD, LOGITS, Activations, Site, record

Result = TypeVar("Result")


@dataclass(frozen=True)
class Pass:
    """The result of one forward pass: some of the sequences, each with every adapter."""

    indices: Sequence[int]
    """Indices of the sequences; those of the first adapter come first, then those of the second, and so on."""
    batch: Batch
    activations: Activations

    def of_sequence(self, number: int, sites: Iterable[Site]) -> Activations:
        """Return the activations of one sequence of the batch at these sites."""
        return {site: self._by_sequence[site][number] for site in sites}

    @cached_property
    def _by_sequence(self) -> dict[Site, Sequence[Float[Tensor, "_ *size"]]]:
        counts = {
            site: [len(sequence.positions(site.positions)) for sequence in self.batch.sequences]
            for site in self.activations
        }
        return {site: values.split_with_sizes(counts[site]) for site, values in self.activations.items()}


class Reader:
    """Reads sequences of tokens with a network and the adapters that run on it.

    Example:
        >>> from ia2.models.sequences import TokenSequence
        >>> from ia2.models.sites import ATTENTION_OUTPUT
        >>> reader = Reader(model.network)
        >>> sequences = [TokenSequence(prompt=(5, 9, 13), response=(7, 3)), TokenSequence((4, 8), (6,))]
        >>> reader.logits(sequences).shape  # positions, vocabulary
        torch.Size([3, 400])
        >>> [tuple(read[ATTENTION_OUTPUT].shape) for read in reader.activations(sequences, [ATTENTION_OUTPUT])]
        [(2, 3, 32), (1, 3, 32)]
    """

    def __init__(
        self,
        network: PreTrainedModel,
        adapters: Attachment = UNADAPTED,
        prefix: Prefill = NO_PREFILL,
        layout: Layout = "packed",
    ) -> None:
        """Create a reader.

        Args:
            network: a causal language model.
            adapters: the adapters that run on it; by default none.
            prefix: keys and values of a prefix of all prompts, computed by the network with the adapters.
            layout: how sequences share a pass, if the network supports it.

        Raises:
            ValueError: a prefix can't be shared by these adapters, or the network can't continue after a prefix.
        """
        form = row_form_of(network)
        if prefix.tokens and not form.shares_prefix:
            raise ValueError("this network reads each prompt from its first token")
        if prefix.tokens and not adapters.shares_prefill:
            raise ValueError("adapters read the whole prompt: no prefill can be shared with a bank")
        self.network, self.adapters, self.prefix, self.layout = network, adapters, prefix, form.layout(layout)

    def with_common_prefix(self, sequences: Sequence[TokenSequence]) -> "Reader":
        """Return a reader with the common prefix of these prompts prefilled; this one if none can be shared."""
        shares = self.adapters.shares_prefill and row_form_of(self.network).shares_prefix
        if not shares or len(sequences) < 2:
            return self
        return Reader(self.network, self.adapters, prefill(self.network, shared_tokens(sequences)), self.layout)

    def read(
        self,
        batch: Batch,
        at: Mapping[Site, Positions],
        adapter_of_row: AdapterOfRow | None = None,
        noise: Sequence[int | None] = (),
    ) -> Activations:
        """Run one forward pass over a batch; the language-model head runs only if logits are requested.

        Args:
            batch: the sequences, laid out after the prefix.
            at: the sites, each with its positions.
            adapter_of_row: which adapter each row of the batch belongs to; by default the first.
            noise: seeds of dropout, as in `Attachment.reading`.
        """
        rows = batch.input_ids.shape[0]
        adapter_of_row = [0] * rows if adapter_of_row is None else adapter_of_row
        positions_of_site = {site: positions for site, positions in at.items() if site.name != "logits"}
        whole = any(site.name in FINAL_FEED_FORWARD for site in positions_of_site)
        read: dict[Site, Tensor] = {}
        with (
            self.adapters.reading(batch, adapter_of_row, noise) as (batch, cache),
            record(self.network, positions_of_site) as recorded,
        ):
            cache = self.prefix.cache(rows) if cache is None else cache
            if LOGITS in at:
                read[LOGITS] = response_logits(self.network, batch, cache, at=at[LOGITS], whole=whole)
            else:
                forward(self.network, batch, cache, whole=whole)
        return read | recorded.taken()

    def passes(
        self,
        sequences: Sequence[TokenSequence],
        sites: Sequence[Site],
        *,
        batch_size: int | None = None,
        group: int = 1,
    ) -> Iterator[Pass]:
        """Read sequences with every adapter, batching those of similar length.

        Where the device's memory isn't enough for a pass, it is read in halves.

        Args:
            sequences: the sequences, including the prefix.
            sites: the sites to read.
            batch_size: groups per adapter in a pass; by default as many as keep the device busy.
            group: how many consecutive sequences belong together, such as the labels of one prompt.

        Raises:
            InputError: the device has no room for a single group.
        """
        return self.map_passes(lambda one_pass: one_pass, sequences, sites, batch_size=batch_size, group=group)

    def map_passes(
        self,
        function: Callable[[Pass], Result],
        sequences: Sequence[TokenSequence],
        sites: Sequence[Site],
        *,
        batch_size: int | None = None,
        group: int = 1,
    ) -> Iterator[Result]:
        """Apply a function to each pass, so that its own memory is included in what must fit; otherwise as `passes`.

        Args:
            function: takes a pass and returns something small. It is called again for the halves of a pass that
                didn't fit.
            sequences: as in `passes`.
            sites: as in `passes`.
            batch_size: as in `passes`.
            group: as in `passes`.
        """
        copies, skip = len(self.adapters), len(self.prefix.tokens)
        limit, heads = pass_limit(self.network), sequences[::group]
        planned = passes(heads, batch_size, self.network.device, skip=skip, copies=copies * group)
        waiting = deque(planned)
        while waiting:
            chosen = waiting.popleft()
            tokens = sum(len(heads[index].inputs) - skip for index in chosen) * copies * group
            fits = limit.tokens is None or tokens <= limit.tokens or len(chosen) == 1
            if fits:
                result, reason = attempt(partial(self._map_one_pass, function, sequences, sites, chosen, group))
                if reason is None:
                    yield cast(Result, result)
                    continue
                if len(chosen) == 1:
                    raise no_room(self.network, "one text" + f" with {copies} adapters" * (copies > 1), reason)
                limit.tokens = tokens // 2
                limit.say()
            half = -(-len(chosen) // 2)
            waiting.extendleft([chosen[half:], chosen[:half]])

    def _map_one_pass(
        self,
        function: Callable[[Pass], Result],
        sequences: Sequence[TokenSequence],
        sites: Sequence[Site],
        chosen: Sequence[int],
        group: int,
    ) -> Result:
        """Apply a function to one forward pass over some groups of sequences, each with every adapter."""
        copies = len(self.adapters)
        indices = [index * group + member for index in chosen for member in range(group)] * copies
        read = [sequences[index] for index in indices]
        adapters = [adapter for adapter in range(copies) for _ in range(len(indices) // copies)]
        batch, adapter_of_row = self.laid_out(read, adapters)
        at = {site: batch.at(site.positions) for site in sites}
        return function(Pass(indices, batch, self.read(batch, at, adapter_of_row)))

    def laid_out(
        self, sequences: Sequence[TokenSequence], adapters: Sequence[int], *, share: bool = True
    ) -> tuple[Batch, AdapterOfRow]:
        """Return a batch of sequences after the prefix, and the adapter of each of its rows.

        Args:
            sequences: the sequences to read.
            adapters: the adapter that reads each.
            share: whether the common prefix of a row's prompts is stored once.
        """
        skip, device = len(self.prefix.tokens), self.network.device
        if self.layout == "packed":
            rows, adapter_of_row = shared_rows(sequences, adapters, skip=skip, share=share)
            batch = lay_out(sequences, rows=rows, skip=skip, share=share, device=device)
        else:
            adapter_of_row = list(adapters)
            batch = lay_out(sequences, layout=self.layout, skip=skip, device=device)
        return batch, adapter_of_row

    @torch.no_grad()
    def activations(
        self, sequences: Sequence[TokenSequence], sites: Sequence[Site], batch_size: int | None = None
    ) -> list[Activations]:
        """Return the first adapter's activations at these sites, for each sequence: (positions, layers, width).

        Args:
            sequences: the sequences to read.
            sites: the sites to read.
            batch_size: sequences per forward pass; by default as many as keep the device busy.
        """
        by_sequence: list[Activations] = [{}] * len(sequences)
        for one_pass in self.passes(sequences, sites, batch_size=batch_size):
            for number, index in enumerate(one_pass.indices[: len(one_pass.indices) // len(self.adapters)]):
                by_sequence[index] = one_pass.of_sequence(number, sites)
        return by_sequence

    def logits(
        self, sequences: Sequence[TokenSequence], batch_size: int | None = None
    ) -> Float[Tensor, "n vocabulary"]:
        """Return next-token logits at the positions that predict response tokens, sequence after sequence.

        Args:
            sequences: the sequences to read.
            batch_size: sequences per forward pass; by default as many as keep the device busy.
        """
        return torch.cat([read[LOGITS] for read in self.activations(sequences, [LOGITS], batch_size)])
