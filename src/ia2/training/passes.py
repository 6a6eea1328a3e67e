"""Forward passes over rows of many adapters: their losses, their gradients, and the memory that these take.

Nothing is read back from the device here: a GPU is told what to do next while it is still at work.
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
from ia2.training.objectives import Objective, Wanted
from ia2.training.shares import WHOLE, PassSize, Share, in_passes
from ia2.training.student import Part

CPU_BUSY_TOKENS, GPU_BUSY_TOKENS = 400, 8192
"""Tokens that keep two cores busy with multiplying, and a GPU."""


@dataclass(frozen=True)
class TrainingPass:
    """Rows of some adapters, laid out for one forward pass, beside what they are to do."""

    shares: Sequence[Share]
    batch: Batch
    adapter_of_row: AdapterOfRow
    noise: Sequence[int | None]
    """What the dropout of each row follows from."""
    at: dict[Site, Positions]
    """What is read of the student."""
    wanted: dict[Objective, Wanted]
    """What each objective's rows are to do. Examples are counted over all rows of the pass."""
    chosen: dict[tuple[Objective, Site], Int[Tensor, " n"]]
    """Where a site is read for rows of other objectives as well: the positions that are an objective's."""

    @classmethod
    def of(cls, reader: Reader, shares: Sequence[Share]) -> "TrainingPass":
        """Lay rows out and send what is needed to the device.

        Args:
            reader: the frozen model with the adapters.
            shares: which rows, each with its adapter and its stage.
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
        wanted = {
            objective: Wanted(
                batch.responses(numbers[objective]),
                _targets(parts, objective, batch.input_ids.device),
                example[objective],
                len(sequences),
            )
            for objective in numbers
        }
        return cls(shares, batch, adapter_of_row, noise, at, wanted, chosen)

    def losses(self, reader: Reader) -> Float[Tensor, " rows"]:
        """The loss of each row, in their order, from one forward pass.

        No language-model head is run at a row whose objective reads hidden activations alone, and nothing is recorded
        at one whose objective reads logits.
        """
        read = reader.read(self.batch, self.at, self.adapter_of_row, self.noise)
        return sum(
            # a row that isn't an objective's own has no position there, and no loss
            (objective.loss(self._student(objective, read), wanted) for objective, wanted in self.wanted.items()),
            start=torch.zeros((), device=self.batch.input_ids.device),
        )

    def _student(self, objective: Objective, read: Mapping[Site, Tensor]) -> Activations:
        """What an objective's rows did at its sites."""
        return {
            site: read[site].index_select(0, self.chosen[objective, site])
            if (objective, site) in self.chosen
            else read[site]
            for site in objective.student_sites
        }

    def mean_losses(self, losses: Float[Tensor, " rows"], parts: int) -> Float[Tensor, " parts"]:
        """What this pass adds to the mean loss of each of all parts.

        Args:
            losses: of the rows of this pass.
            parts: how many parts there are.
        """
        return losses.new_zeros(parts).index_add(0, self._part, losses * self._weight)

    @cached_property
    def _part(self) -> Int[Tensor, " rows"]:
        """The number of each row's part."""
        numbers = [share.number for share in self.shares for _ in share.part.indices]
        return on_device(numbers, self.batch.input_ids.device)

    @cached_property
    def _weight(self) -> Float[Tensor, " rows"]:
        """How much each row counts in the mean of its part."""
        weights = [1 / share.rows for share in self.shares for _ in share.part.indices]
        return on_device(weights, self.batch.input_ids.device, torch.float32)


def _positions_of(batch: Batch, site: Site, read: Sequence[int], numbers: set[int]) -> list[int]:
    """Where what was read at a site of some sequences is that of others among them.

    Args:
        batch: the sequences.
        site: where it was read.
        read: numbers of the sequences that were read.
        numbers: numbers of those that are wanted.
    """
    positions, start = list[int](), 0
    for number in read:
        count = len(batch.sequences[number].positions(site.positions))
        positions += range(start, start + count) if number in numbers else ()
        start += count
    return positions


def _targets(parts: Sequence[Part], objective: Objective, device: torch.device) -> Activations:
    """What the teacher did at an objective's sites, for the rows of the objective's parts."""
    by_site: dict[Site, Tensor] = {}
    for site in objective.teacher_sites:
        tensors = []
        read = [part for part in parts if part.stage.objective == objective]
        # parts of one set, which differ in learning rate alone, are taken together
        for _, of_set in itertools.groupby(read, key=lambda part: id(part.rows.targets)):
            alike = list(of_set)
            targets = alike[0].rows.targets
            assert targets is not None, "train has checked that there are targets"
            tensors.append(targets.activations(site, [index for part in alike for index in part.indices], device))
        by_site[site] = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
    return by_site


def losses(reader: Reader, parts: Sequence[Part]) -> Float[Tensor, " rows"]:
    """The loss of each row of all parts, in their order, from one forward pass.

    Args:
        reader: the frozen model with the adapters.
        parts: which rows, each part with its adapter and its stage.
    """
    shares = [Share(number, part, len(part.indices)) for number, part in enumerate(parts)]
    return TrainingPass.of(reader, shares).losses(reader)


def gradient_step(reader: Reader, parts: Sequence[Part], size: PassSize = WHOLE) -> Float[Tensor, " parts"]:
    """Leave the gradient of each part's own mean loss in the bank's `values.grad`; gives these losses.

    However many forward passes it takes, the gradient is that of all rows in one: each row counts once.

    Args:
        reader: the frozen model with a bank of adapters.
        parts: the rows that are learnt from, one part an adapter at the most.
        size: the most adapters and rows of each in a forward pass, where a whole batch doesn't fit in memory.
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
    """The passes that measure all rows of the parts without gradients; they may be run again and again.

    Args:
        reader: the frozen model with the adapters.
        parts: which rows, each part with its adapter and its stage.
        size: the most adapters and rows of each in a forward pass; by default as many as keep the device busy.
    """
    device = reader.network.device
    chunks = in_passes(parts, size, busy_tokens(device), pass_tokens(device))
    return [TrainingPass.of(reader, shares) for shares in chunks]


@torch.no_grad()
def mean_losses(reader: Reader, passes: Sequence[TrainingPass], parts: int) -> Float[Tensor, " parts"]:
    """The mean loss of each part, without gradients.

    Args:
        reader: the frozen model with the adapters.
        passes: what `dev_passes` has laid out.
        parts: how many parts these are of.
    """
    return sum(
        (one_pass.mean_losses(one_pass.losses(reader), parts) for one_pass in passes),
        start=torch.zeros(parts, device=reader.network.device),
    )


def step_bytes(reader: Reader, part: Part) -> int:
    """About how many bytes a step with these rows takes beyond the model, found by one forward pass.

    What is kept for the backward pass, half of that again for what comes and goes, and eight copies of the adapters:
    what they began as, themselves, their gradient as rows have it and summed, Adam's two moments, the root of one, and
    the best so far.
    """
    # with dropout rows share nothing, and their masks are kept as well
    learnt = replace(part, noise=0)
    saved = saved_bytes(lambda: losses(reader, [learnt]), reader.network)
    values = bank_of(reader).values
    return int(1.5 * saved) + 8 * values.numel() * values.element_size()


def bank_of(reader: Reader) -> Bank:
    """The bank that a reader reads with.

    Raises:
        TypeError: it reads with something else, which can't be trained.
    """
    if not isinstance(reader.adapters, Bank):
        raise TypeError("only a bank of adapters can be trained")
    return reader.adapters


def busy_tokens(device: torch.device) -> int:
    """Tokens that keep a device busy, so that more of them gain nothing."""
    return CPU_BUSY_TOKENS if device.type == "cpu" else GPU_BUSY_TOKENS
