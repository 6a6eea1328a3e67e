"""Adapters to run on a network, each on its own rows of a batch, or none."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from transformers import Cache

from ia2.models.layout import Batch

AdapterOfRow = Sequence[int]
"""Index of each row's adapter. A sequence of Python integers, known when the batch is laid out, so that using it needs
no synchronisation with a GPU."""


class Attachment(ABC):
    """Adapters that can be run on a network; the unadapted network counts as one adapter that does nothing."""

    shares_prefill: bool = False
    """Whether a common prefix of prompts can be prefilled once: its keys and values are the same for every row."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of adapters."""

    @property
    def virtual_tokens(self) -> int:
        """Return the number of virtual tokens before every text, in the cache that `prefix` returns."""
        return 0

    def prefix(self, adapter_of_row: AdapterOfRow) -> Cache | None:
        """Return keys and values of the virtual tokens, for each row those of its adapter; None if there are none."""
        del adapter_of_row
        return None

    def shares_tokens(self, noise: Sequence[int | None]) -> bool:
        """Return whether an adapter's sequences may share their common tokens once per row; `noise` as in `reading`."""
        del noise
        return True

    @abstractmethod
    def attached(self, adapter_of_row: AdapterOfRow, *, one_token: bool = False) -> AbstractContextManager[None]:
        """Run the network with the adapters inside the `with` block; it is unchanged afterwards.

        Args:
            adapter_of_row: index of each row's adapter.
            one_token: rows have one token each, as in decoding.
        """

    @contextmanager
    def reading(
        self, batch: Batch, adapter_of_row: AdapterOfRow, noise: Sequence[int | None] = ()
    ) -> Iterator[tuple[Batch, Cache | None]]:
        """Run the network on a batch with the adapters; yield the batch and the cache to run it with.

        Args:
            batch: the batch to read.
            adapter_of_row: index of each row's adapter.
            noise: for adapters with dropout, a seed for each sequence's masks; None for sequences that aren't
                trained on.
        """
        del noise
        with self.attached(adapter_of_row):
            yield batch.behind(self.virtual_tokens), self.prefix(adapter_of_row)


class Unadapted(Attachment):
    """The network without adapters, or with changes made elsewhere."""

    shares_prefill = True

    def __len__(self) -> int:
        """Return 1: the network itself."""
        return 1

    @contextmanager
    def attached(self, adapter_of_row: AdapterOfRow, *, one_token: bool = False) -> Iterator[None]:
        """Change nothing."""
        del adapter_of_row, one_token
        yield


UNADAPTED = Unadapted()
