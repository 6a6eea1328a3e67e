"""Groups of adjacent rows of a batch that have the same adapter, so that one product serves a group."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ia2.models.attachment import AdapterOfRow
from ia2.models.transfer import on_device


@dataclass(frozen=True)
class RowGroups:
    """Adjacent rows of a batch in groups, one adapter each; the tokens of a group are treated as a single row."""

    adapters: list[int]
    """The adapter of each group."""
    rows: Int[Tensor, " places"] | None = None
    """The row at each place of the groups, concatenated; None if rows are in that order already."""
    at: Int[Tensor, " rows"] | None = None
    """Each row's place."""

    @classmethod
    def of(cls, adapter_of_row: AdapterOfRow, *, gather: bool, device: torch.device) -> "RowGroups":
        """Make one group per adapter if its rows can form one, else one per row.

        Args:
            adapter_of_row: index of each row's adapter.
            gather: whether to move rows so that an adapter's rows are adjacent.
            device: the rows' device.
        """
        members: dict[int, list[int]] = {}
        for row, adapter in enumerate(adapter_of_row):
            members.setdefault(adapter, []).append(row)
        size = max(map(len, members.values()))
        # smaller groups are padded with copies of their last row, never with rows of another adapter
        padded = [row for rows in members.values() for row in (*rows, *[rows[-1]] * (size - len(rows)))]
        if padded == list(range(len(adapter_of_row))):
            return cls(list(members))
        if not gather:
            return cls(list(adapter_of_row))
        first_at = {row: at for at, row in reversed([*enumerate(padded)])}
        at = [first_at[row] for row in range(len(adapter_of_row))]
        return cls(list(members), on_device(padded, device), on_device(at, device))

    def on(self, device: torch.device) -> "RowGroups":
        """Return the groups for rows on this device."""
        if self.rows is None or self.at is None or self.rows.device == device:
            return self
        return replace(self, rows=self.rows.to(device), at=self.at.to(device))

    def gathered(self, values: Float[Tensor, "rows *width n"]) -> Float[Tensor, "groups tokens n"]:
        """Return the tokens in groups."""
        rows = values if self.rows is None else taken(values, self.rows)
        return rows.reshape(len(self.adapters), -1, values.shape[-1])

    def scattered(self, values: Float[Tensor, "groups tokens n"], width: int) -> Float[Tensor, "rows width n"]:
        """Return the tokens in rows of `width` tokens again."""
        rows = values.reshape(-1, width, values.shape[-1])
        return rows if self.at is None else taken(rows, self.at)


def taken(values: Float[Tensor, "adapters *shape"], indices: Int[Tensor, " rows"]) -> Float[Tensor, "rows *shape"]:
    """Return `values[indices]`, with a bitwise deterministic gradient."""
    # the gradient of indexing is summed by threads in any order; this is also faster
    return values.index_select(0, indices)
