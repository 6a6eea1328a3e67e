"""What runs on a network while it is read: adapters, each with rows of its own, or nothing."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from transformers import Cache

from ia2.models.layout import Batch

AdapterOfRow = Sequence[int]
"""Which adapter each row of a batch belongs to. It is known where the batch is laid out, so that nothing has to be read
back from a device for it."""


class Attachment(ABC):
    """Adapters that can be run on a network; the network as it is counts as one adapter that does nothing."""

    shares_prefill: bool = False
    """Whether a prefix that prompts have in common can be read once for all of them: its keys and values are the same
    for every row."""

    @abstractmethod
    def __len__(self) -> int:
        """How many adapters there are."""

    @property
    def virtual_tokens(self) -> int:
        """Tokens that stand before every text, in the cache that `prefix` gives."""
        return 0

    def prefix(self, adapter_of_row: AdapterOfRow) -> Cache | None:
        """Keys and values of the virtual tokens, each row's with its own adapter; None where there are none."""
        del adapter_of_row
        return None

    def shares_tokens(self, noise: Sequence[int | None]) -> bool:
        """Whether sequences of an adapter may have their common tokens stand in a row once; `noise` as in `reading`."""
        del noise
        return True

    @abstractmethod
    def attached(self, adapter_of_row: AdapterOfRow, *, one_token: bool = False) -> AbstractContextManager[None]:
        """Run the network with the adapters; it is as it was when the block is left.

        Args:
            adapter_of_row: which adapter each row belongs to.
            one_token: rows have one token each, as in decoding.
        """

    @contextmanager
    def reading(
        self, batch: Batch, adapter_of_row: AdapterOfRow, noise: Sequence[int | None] = ()
    ) -> Iterator[tuple[Batch, Cache | None]]:
        """Run the network on a batch with the adapters: gives the batch and the cache to run it with.

        Args:
            batch: what is read.
            adapter_of_row: which adapter each of its rows belongs to.
            noise: where adapters have dropout, a number for each sequence, from which its masks follow; None for those
                that aren't learnt from.
        """
        del noise
        with self.attached(adapter_of_row):
            yield batch.behind(self.virtual_tokens), self.prefix(adapter_of_row)


class Unadapted(Attachment):
    """The network as it is, or as somebody else has changed it."""

    shares_prefill = True

    def __len__(self) -> int:
        """One: the network."""
        return 1

    @contextmanager
    def attached(self, adapter_of_row: AdapterOfRow, *, one_token: bool = False) -> Iterator[None]:
        """Change nothing."""
        del adapter_of_row, one_token
        yield


UNADAPTED = Unadapted()
