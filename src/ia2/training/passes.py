"""Forward passes over rows of many adapters: losses, gradients and memory estimates.

Nothing is read back from the device here, so that kernel launches run ahead of the GPU.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ia2.adapters.bank import Bank
from ia2.models.attachment import AdapterOfRow
from ia2.models.layout import Batch, Positions
from ia2.models.memory import saved_bytes
from ia2.models.packing import pass_tokens
from ia2.models.reader import Reader
from ia2.models.sites import Activations, Site
from ia2.models.transfer import on_device
from ia2.randomness import derived_seed
from ia2.training.objectives import Objective, ObjectiveTargets
from ia2.training.shares import WHOLE, PassSize, Share, in_passes
from ia2.training.student import Part

CPU_BUSY_TOKENS, GPU_BUSY_TOKENS = 400, 8192
"""Tokens per pass that saturate two CPU cores, and a GPU."""


@dataclass(frozen=True)
class TrainingPass:
    """Rows of several adapters laid out for one forward pass, with their targets."""

    shares: Sequence[Share]
    batch: Batch
    adapter_of_row: AdapterOfRow
    noise: Sequence[int | None]
    """Dropout seed of each row; None for no dropout."""
    at: dict[Site, Positions]
    """Positions to read at each site of the student."""
    targets: dict[Objective, ObjectiveTargets]
    """Targets of each objective's rows. Example indices run over all rows of the pass."""
    chosen: dict[tuple[Objective, Site], Int[Tensor, " n"]]
    """For a site that several objectives read, the indices of an objective's own positions."""

    @classmethod
    def of(cls, reader: Reader, shares: Sequence[Share]) -> "TrainingPass":
        """Lay out rows and copy everything they need to the device.

        Args:
            reader: the frozen model with the adapters.
            shares: the rows, with their adapters and stages.
        """
        parts = [share.part for share in shares]
        sequences = [sequence for part in parts for sequence in part.sequences]
        objectives = [part.stage.objective for part in parts for _ in part.indices]
        noise = [
            derived_seed(part.noise, f"row {index}") if part.noise is not None else None
            for part in parts
            for index in part.indices
        ]
        adapters = [part.adapter for part in parts for _ in part.indices]
        batch, adapter_of_row = reader.laid_out(sequences, adapters, share=reader.adapters.shares_tokens(noise))
        numbers: dict[Objective, list[int]] = {}
        for number, objective in enumerate(objectives):
            numbers.setdefault(objective, []).append(number)
        sites = dict.fromkeys(site for objective in numbers for site in sorted(objective.student_sites, key=str))
        at, chosen = dict[Site, Positions](), dict[tuple[Objective, Site], Tensor]()
        example: dict[Objective, dict[Site, Tensor]] = {objective: {} for objective in numbers}
        for site in sites:
            readers = [objective for objective in numbers if site in objective.student_sites]
            read = sorted(number for objective in readers for number in numbers[objective])
            at[site] = batch.at(site.positions, read)
            for objective in readers:
                example[objective][site] = at[site].example
                if len(readers) > 1:
                    positions = _positions_of(batch, site, read, set(numbers[objective]))
                    chosen[objective, site] = on_device(positions, batch.input_ids.device)
                    example[objective][site] = at[site].example.index_select(0, chosen[objective, site])
        targets = {
            objective: ObjectiveTargets(
                batch.responses(numbers[objective]),
                _targets(parts, objective, batch.input_ids.device),
                example[objective],
                len(sequences),
            )
            for objective in numbers
        }
        return cls(shares, batch, adapter_of_row, noise, at, targets, chosen)

    def losses(self, reader: Reader) -> Float[Tensor, " rows"]:
        """Return the loss of each row, in order, from one forward pass.

        The language-model head is skipped for rows whose objective reads only hidden activations, and no activations
        are recorded for rows whose objective reads only logits.
        """
        read = reader.read(self.batch, self.at, self.adapter_of_row, self.noise)
        return sum(
            # rows of other objectives have no positions here, and so a loss of 0
            (objective.loss(self._student(objective, read), targets) for objective, targets in self.targets.items()),
            start=torch.zeros((), device=self.batch.input_ids.device),
        )

    def _student(self, objective: Objective, read: Mapping[Site, Tensor]) -> Activations:
        """Return the activations of an objective's rows at its sites."""
        return {
            site: read[site].index_select(0, self.chosen[objective, site])
            if (objective, site) in self.chosen
            else read[site]
            for site in objective.student_sites
        }

    def mean_losses(self, losses: Float[Tensor, " rows"], parts: int) -> Float[Tensor, " parts"]:
        """Return this pass's contribution to the mean loss of each part.

        Args:
            losses: losses of the rows of this pass.
            parts: total number of parts.
        """
        return losses.new_zeros(parts).index_add(0, self._part, losses * self._weight)

    @cached_property
    def _part(self) -> Int[Tensor, " rows"]:
        """Part number of each row."""
        numbers = [share.number for share in self.shares for _ in share.part.indices]
        return on_device(numbers, self.batch.input_ids.device)

    @cached_property
    def _weight(self) -> Float[Tensor, " rows"]:
        """Weight of each row in the mean of its part."""
        weights = [1 / share.rows for share in self.shares for _ in share.part.indices]
        return on_device(weights, self.batch.input_ids.device, torch.float32)


def _positions_of(batch: Batch, site: Site, read: Sequence[int], numbers: set[int]) -> list[int]:
    """Return the indices, among the positions read at a site, of those that belong to a subset of the sequences.

    Args:
        batch: the sequences.
        site: the site that was read.
        read: numbers of the sequences that were read.
        numbers: numbers of the sequences in the subset.
    """
    positions, start = list[int](), 0
    for number in read:
        count = len(batch.sequences[number].positions(site.positions))
        positions += range(start, start + count) if number in numbers else ()
        start += count
    return positions


def _targets(parts: Sequence[Part], objective: Objective, device: torch.device) -> Activations:
    """Return the teacher's activations at an objective's sites, for the rows of the objective's parts."""
    by_site: dict[Site, Tensor] = {}
    for site in objective.teacher_sites:
        tensors = []
        read = [part for part in parts if part.stage.objective == objective]
        # parts with the same targets, which differ only in the learning rate, are gathered at once
        for _, of_set in itertools.groupby(read, key=lambda part: id(part.rows.targets)):
            same_targets = list(of_set)
            targets = same_targets[0].rows.targets
            assert targets is not None, "train has checked that there are targets"
            tensors.append(
                targets.activations(site, [index for part in same_targets for index in part.indices], device)
            )
        by_site[site] = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
    return by_site


def losses(reader: Reader, parts: Sequence[Part]) -> Float[Tensor, " rows"]:
    """Return the loss of each row of all parts, in order, from one forward pass.

    Args:
        reader: the frozen model with the adapters.
        parts: the rows, with their adapters and stages.
    """
    shares = [Share(number, part, len(part.indices)) for number, part in enumerate(parts)]
    return TrainingPass.of(reader, shares).losses(reader)


def gradient_step(reader: Reader, parts: Sequence[Part], size: PassSize = WHOLE) -> Float[Tensor, " parts"]:
    """Accumulate the gradient of each part's mean loss in the bank's `values.grad`, and return these losses.

    The gradient doesn't depend on the number of forward passes.

    Args:
        reader: the frozen model with a bank of adapters.
        parts: the training rows, with at most one part per adapter.
        size: maximum number of adapters, and of rows of each, in a forward pass, if a whole batch doesn't fit in
            memory.
    """
    bank_of(reader).values.grad = None
    totals = torch.zeros(len(parts), device=reader.network.device)
    for shares in in_passes(parts, size, busy_tokens(reader.network.device)):
        one_pass = TrainingPass.of(reader, shares)
        means = one_pass.mean_losses(one_pass.losses(reader), len(parts))
        means.sum().backward()  # type: ignore[no-untyped-call]
        totals = totals + means.detach()
    return totals


def dev_passes(reader: Reader, parts: Sequence[Part], size: PassSize = WHOLE) -> list[TrainingPass]:
    """Return the passes that evaluate all rows of the parts without gradients; they can be run repeatedly.

    Args:
        reader: the frozen model with the adapters.
        parts: the rows, with their adapters and stages.
        size: maximum number of adapters, and of rows of each, in a forward pass; by default as many as keep the
            device busy.
    """
    device = reader.network.device
    chunks = in_passes(parts, size, busy_tokens(device), pass_tokens(device))
    return [TrainingPass.of(reader, shares) for shares in chunks]


@torch.no_grad()
def mean_losses(reader: Reader, passes: Sequence[TrainingPass], parts: int) -> Float[Tensor, " parts"]:
    """Return the mean loss of each part, without gradients.

    Args:
        reader: the frozen model with the adapters.
        passes: the passes from `dev_passes`.
        parts: total number of parts.
    """
    return sum(
        (one_pass.mean_losses(one_pass.losses(reader), parts) for one_pass in passes),
        start=torch.zeros(parts, device=reader.network.device),
    )


def step_bytes(reader: Reader, part: Part) -> int:
    """Estimate the memory of a training step on these rows beyond the model, in bytes, by one forward pass.

    The estimate is the memory of saved activations, half of that again for temporaries, and eight copies of the adapter
    values: the initial, current and best values, the gradient per row and summed, Adam's two moments, and the square
    root of one of them.
    """
    # with dropout, rows share no computation, and the masks are saved too
    learnt = replace(part, noise=0)
    saved = saved_bytes(lambda: losses(reader, [learnt]), reader.network)
    values = bank_of(reader).values
    return int(1.5 * saved) + 8 * values.numel() * values.element_size()


def bank_of(reader: Reader) -> Bank:
    """Return the bank of a reader.

    Raises:
        TypeError: the reader has no bank, so nothing can be trained.
    """
    if not isinstance(reader.adapters, Bank):
        raise TypeError("only a bank of adapters can be trained")
    return reader.adapters


def busy_tokens(device: torch.device) -> int:
    """Return the number of tokens per pass that saturate a device."""
    return CPU_BUSY_TOKENS if device.type == "cpu" else GPU_BUSY_TOKENS
