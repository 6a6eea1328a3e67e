"""The teacher's targets: one file per row on disk, and during training one tensor per site in memory."""

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

from ia2.locks import mark_in_use
from ia2.models.sites import Activations, Site
from ia2.models.transfer import on_device

TOKENS, QUERY_TOKENS = "tokens", "query_tokens"


@dataclass(frozen=True)
class Target:
    """The teacher's target for one row."""

    tokens: Int[Tensor, " response"]
    """The response."""
    activations: Activations
    """Activations at each site, positions first."""
    query_tokens: int | None = None
    """Number of final prompt tokens that belong to the query; None if only responses are read."""

    def save(self, file: Path) -> None:
        """Write it as safetensors."""
        tensors = {TOKENS: self.tokens.cpu()}
        if self.query_tokens is not None:
            tensors[QUERY_TOKENS] = torch.tensor([self.query_tokens])
        for site, activation in self.activations.items():
            tensors[str(site)] = activation.cpu().contiguous()
        save_file(tensors, file)


class TargetRows(Sequence[Target]):
    """Targets of a sequence of rows, read from disk one at a time, or for a site all at once."""

    def __init__(self, files: Sequence[Path], sites: Sequence[Site]) -> None:
        self.files, self.sites = tuple(files), tuple(sites)
        self._in_memory: dict[Site, tuple[Tensor, list[int]]] = {}
        """Activations of all rows at a site, concatenated, and the offsets of the rows, with the end of the last."""

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.files)

    @overload
    def __getitem__(self, index: int) -> Target: ...
    @overload
    def __getitem__(self, index: slice) -> "TargetRows": ...
    def __getitem__(self, index: int | slice) -> "Target | TargetRows":
        """Return the target of one row, or for a slice another lazy sequence."""
        if isinstance(index, slice):
            return TargetRows(self.files[index], self.sites)
        tensors = load_file(self.files[index])
        query_tokens = int(tensors[QUERY_TOKENS].item()) if QUERY_TOKENS in tensors else None
        return Target(tensors[TOKENS], {site: tensors[str(site)] for site in self.sites}, query_tokens)

    def __add__(self, other: "TargetRows") -> "TargetRows":
        """Concatenate with other rows of the same sites."""
        return TargetRows(self.files + other.files, self.sites)

    def responses(self) -> Iterator[tuple[tuple[int, ...], int | None]]:
        """Yield each row's response and number of query tokens, without reading activations."""
        for file in self.files:
            with safe_open(file, framework="pt") as tensors:
                query = tensors.get_tensor(QUERY_TOKENS) if QUERY_TOKENS in tensors.keys() else None  # noqa: SIM118
                yield tuple(tensors.get_tensor(TOKENS).tolist()), None if query is None else int(query.item())

    def layer(self, site: Site, layer: int) -> Float[Tensor, "n width"]:
        """Return the concatenated activations of all rows at one layer, without reading other layers."""
        if site in self._in_memory:
            return self._in_memory[site][0][:, layer]
        parts = []
        for file in self.files:
            with safe_open(file, framework="pt") as tensors:
                parts.append(tensors.get_slice(str(site))[:, layer])
        return torch.cat(parts)

    def bytes_of(self, site: Site) -> int:
        """Return the memory that all rows' activations at a site take, in bytes."""
        total = 0
        for file in self.files:
            with safe_open(file, framework="pt") as tensors:
                part = tensors.get_slice(str(site))
                count = torch.Size(part.get_shape()).numel()
                total += count * (4 if part.get_dtype() == "F32" else 2)
        return total

    def load(self, site: Site, device: torch.device) -> None:
        """Load all rows' activations at a site into one tensor on a device, until `let_go` releases it."""
        if site in self._in_memory:
            return
        parts = [target.activations[site] for target in self]
        self._in_memory[site] = torch.cat(parts).to(device), [0, *itertools.accumulate(map(len, parts))]

    def let_go(self) -> None:
        """Release all loaded activations."""
        self._in_memory.clear()

    def activations(self, site: Site, rows: Sequence[int], device: torch.device) -> Float[Tensor, "n *size"]:
        """Return the concatenated activations of some rows at a site, from memory if loaded, else from disk.

        Args:
            site: the site.
            rows: indices of the rows, in order.
            device: the device of the result, unless the site is loaded; then it is that of `load`.
        """
        if site not in self._in_memory:
            return torch.cat([self[row].activations[site] for row in rows]).to(device)
        tensor, starts = self._in_memory[site]
        positions = [position for row in rows for position in range(starts[row], starts[row + 1])]
        return tensor.index_select(0, on_device(positions, tensor.device))


@dataclass(frozen=True)
class Targets:
    """The teacher's targets for every row of a few-shot set."""

    folder: Path
    train: TargetRows
    dev: TargetRows
    unlabelled: TargetRows
    """Targets of the set's unlabelled queries, each with every order of the demonstrations."""
    on_responses: "Targets | None" = None
    """Targets of a teacher pass over the rows' responses instead of its own; None if no stage needs them."""

    def __post_init__(self) -> None:
        """Keep what is read row by row from being pruned meanwhile."""
        mark_in_use(self.folder, self)

    @cached_property
    def taught(self) -> TargetRows:
        """Targets of every row that a student is aligned on: the training rows, then the unlabelled queries."""
        return self.train + self.unlabelled if len(self.unlabelled) else self.train

    @property
    def sites(self) -> frozenset[Site]:
        """Sites read from the teacher."""
        return frozenset(self.train.sites)
