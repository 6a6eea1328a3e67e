"""What the teacher did: a file for each row on disk, and in training one tensor a site in memory."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import overload

import torch
from jaxtyping import Float, Int
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from ia2.cache import mark_in_use
from ia2.models.sites import Activations, Site
from ia2.models.transfer import on_device

TOKENS, QUERY_TOKENS = "tokens", "query_tokens"


@dataclass(frozen=True)
class Target:
    """What the teacher did for one row."""

    tokens: Int[Tensor, " response"]
    """Its response."""
    activations: Activations
    """What it did at each site, positions first."""
    query_tokens: int | None = None
    """How many last tokens of its prompt are those of the query's own prompt; None where only responses are read."""

    def save(self, file: Path) -> None:
        """Write it as safetensors."""
        tensors = {TOKENS: self.tokens.cpu()}
        if self.query_tokens is not None:
            tensors[QUERY_TOKENS] = torch.tensor([self.query_tokens])
        for site, activation in self.activations.items():
            tensors[str(site)] = activation.cpu().contiguous()
        save_file(tensors, file)


class TargetRows(Sequence[Target]):
    """The targets of some rows of a set, read from disk one at a time, or all of a site at once."""

    def __init__(self, files: Sequence[Path], sites: Sequence[Site]) -> None:
        self.files, self.sites = tuple(files), tuple(sites)
        self._at_hand: dict[Site, tuple[Tensor, list[int]]] = {}
        """A site's activations of all rows, and where each row's begin and the last one's end."""

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Target: ...
    @overload
    def __getitem__(self, index: slice) -> "TargetRows": ...
    def __getitem__(self, index: int | slice) -> "Target | TargetRows":
        """The target of one row; a slice is another lazy sequence."""
        if isinstance(index, slice):
            return TargetRows(self.files[index], self.sites)
        tensors = load_file(self.files[index])
        query_tokens = int(tensors[QUERY_TOKENS].item()) if QUERY_TOKENS in tensors else None
        return Target(tensors[TOKENS], {site: tensors[str(site)] for site in self.sites}, query_tokens)

    def __add__(self, other: "TargetRows") -> "TargetRows":
        """These rows and then others, of the same sites."""
        return TargetRows(self.files + other.files, self.sites)

    def responses(self) -> Iterator[tuple[tuple[int, ...], int | None]]:
        """The teacher's responses alone, each with the number of its query's tokens; activations stay on disk."""
        for file in self.files:
            with safe_open(file, framework="pt") as tensors:
                query = tensors.get_tensor(QUERY_TOKENS) if QUERY_TOKENS in tensors.keys() else None  # noqa: SIM118
                yield tuple(tensors.get_tensor(TOKENS).tolist()), None if query is None else int(query.item())

    def layer(self, site: Site, layer: int) -> Float[Tensor, "n width"]:
        """One layer's activations of all rows end to end; the other layers stay on disk."""
        if site in self._at_hand:
            return self._at_hand[site][0][:, layer]
        parts = []
        for file in self.files:
            with safe_open(file, framework="pt") as tensors:
                parts.append(tensors.get_slice(str(site))[:, layer])
        return torch.cat(parts)

    def bytes_of(self, site: Site) -> int:
        """How much memory a site's activations of all rows take."""
        total = 0
        for file in self.files:
            with safe_open(file, framework="pt") as tensors:
                part = tensors.get_slice(str(site))
                count = torch.Size(part.get_shape()).numel()
                total += count * (4 if part.get_dtype() == "F32" else 2)
        return total

    def load(self, site: Site, device: torch.device) -> None:
        """Read a site's activations of all rows into one tensor on a device, where they stay until `let_go`."""
        if site in self._at_hand:
            return
        parts = [target.activations[site] for target in self]
        self._at_hand[site] = torch.cat(parts).to(device), [0, *itertools.accumulate(map(len, parts))]

    def let_go(self) -> None:
        """Keep nothing in memory any more."""
        self._at_hand.clear()

    def activations(self, site: Site, rows: Sequence[int], device: torch.device) -> Float[Tensor, "n *size"]:
        """A site's activations of some rows end to end: of what is at hand, or read from disk.

        Args:
            site: which one.
            rows: the rows' indices, in this order.
            device: where they are wanted.
        """
        if site not in self._at_hand:
            return torch.cat([self[row].activations[site] for row in rows]).to(device)
        tensor, starts = self._at_hand[site]
        positions = [position for row in rows for position in range(starts[row], starts[row + 1])]
        return tensor.index_select(0, on_device(positions, tensor.device))


@dataclass(frozen=True)
class Targets:
    """What the teacher did for every row of a set."""

    folder: Path
    train: TargetRows
    dev: TargetRows
    unlabelled: TargetRows
    """For the set's unlabelled queries, each in every order of the demonstrations."""
    on_responses: "Targets | None" = None
    """What it did as it read the rows' own responses instead of answering; None where no stage needs that."""

    def __post_init__(self) -> None:
        """Keep what is read row by row from being pruned meanwhile."""
        mark_in_use(self.folder, self)

    @cached_property
    def taught(self) -> TargetRows:
        """For every row that a student is aligned on: the training rows, and then the unlabelled queries."""
        return self.train + self.unlabelled if len(self.unlabelled) else self.train

    @property
    def sites(self) -> frozenset[Site]:
        """What was read of the teacher."""
        return frozenset(self.train.sites)
