"""The student: rows without demonstrations beside what the teacher did with them, and the losses of many at once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ia2.adapters.bank import Bank
from ia2.models.layout import Batch
from ia2.models.load import LanguageModel
from ia2.models.memory import saved_bytes
from ia2.models.packing import pass_tokens
from ia2.models.reader import Reader
from ia2.models.sequences import TokenSequence
from ia2.models.sites import Activations, Site
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.randomness import derived_seed
from ia2.tasks.task import Example, Task
from ia2.training.methods import Stage
from ia2.training.objectives import Objective, Wanted
from ia2.training.targets import TargetRows, Targets

BUSY_TOKENS = 400
"""Tokens that keep two cores busy with multiplying."""


@dataclass(frozen=True)
class StudentRows:
    """Rows as the student meets them, without demonstrations, beside what the teacher did with them."""

    sequences: Sequence[TokenSequence]
    targets: TargetRows | None

    def longest(self, count: int) -> list[int]:
        """Indices of the `count` longest rows."""
        order = sorted(range(len(self.sequences)), key=lambda index: -len(self.sequences[index].inputs))
        return order[:count]

    @classmethod
    def of(
        cls, rows: Sequence[Example], targets: TargetRows | None, stage: Stage, model: LanguageModel, task: Task
    ) -> "StudentRows":
        """Tokenise rows with the responses that the stage trains on."""
        tokenizer = PromptTokenizer.of(model, task)
        if stage.labels == "ground-truth":
            return cls([tokenizer.sequence(row.query, row.response) for row in rows], targets)
        assert targets is not None, "train has checked that there are targets"
        return cls(
            [
                tokenizer.checked(TokenSequence(tokenizer.asked(row.query), tokens, query_tokens), row.query)
                for row, (tokens, query_tokens) in zip(rows, targets.responses(), strict=True)
            ],
            targets,
        )


@dataclass(frozen=True)
class StageRows:
    """What one stage trains and is checked on."""

    stage: Stage
    train: StudentRows
    dev: StudentRows

    @classmethod
    def of(cls, stage: Stage, few_shot_set: FewShotSet, targets: Targets | None, model: LanguageModel) -> "StageRows":
        """The rows of a set for a stage."""
        task, rows, train_targets = few_shot_set.task, few_shot_set.train, targets.train if targets else None
        if stage.labels == "icl-response" and targets is not None:
            # these need no labels, so that unlabelled queries serve as well
            rows += tuple(Example(query, "") for query in few_shot_set.unlabelled_queries())
            train_targets = targets.taught
        return cls(
            stage,
            StudentRows.of(rows, train_targets, stage, model, task),
            StudentRows.of(few_shot_set.dev, targets.dev if targets else None, stage, model, task),
        )


@dataclass(frozen=True)
class Part:
    """Some rows of one adapter."""

    stage: Stage
    rows: StudentRows
    indices: Sequence[int]
    adapter: int = 0
    """The adapter's place in the bank."""
    noise: int | None = None
    """What dropout follows from; None where nothing is learnt from the rows."""

    @property
    def sequences(self) -> list[TokenSequence]:
        """What is read."""
        return [self.rows.sequences[index] for index in self.indices]

    @property
    def tokens(self) -> int:
        """How many tokens are read."""
        return sum(len(sequence.inputs) for sequence in self.sequences)

    def limited(self, start: int, count: int) -> "Part":
        """A run of its rows; none where it has fewer."""
        return replace(self, indices=self.indices[start : start + count])


def losses(reader: Reader, parts: Sequence[Part]) -> Float[Tensor, " examples"]:
    """The loss of each row of all parts, in their order, from one forward pass.

    No language-model head is run at a row whose objective reads hidden activations alone, and nothing is recorded at
    one whose objective reads logits.

    Args:
        reader: the frozen model with the adapters.
        parts: which rows, each part with its adapter and its stage.
    """
    sequences = [sequence for part in parts for sequence in part.sequences]
    objectives = [part.stage.objective for part in parts for _ in part.indices]
    noise = [
        derived_seed(part.noise, f"row {index}") if part.noise is not None else None
        for part in parts
        for index in part.indices
    ]
    adapters = [part.adapter for part in parts for _ in part.indices]
    batch, adapter_of_row = reader.laid_out(sequences, adapters, share=reader.adapters.shares_tokens(noise))
    examples = {
        objective: [number for number, other in enumerate(objectives) if other == objective]
        for objective in dict.fromkeys(objectives)
    }
    reading = {
        site: sorted(
            number for objective in examples if site in objective.student_sites for number in examples[objective]
        )
        for site in dict.fromkeys(site for objective in examples for site in sorted(objective.student_sites, key=str))
    }
    at = {site: batch.at(site.positions, numbers) for site, numbers in reading.items()}
    read = reader.read(batch, at, adapter_of_row, noise)
    values = torch.zeros(len(sequences), device=batch.input_ids.device)
    for objective, numbers in examples.items():
        students = {site: _taken(read[site], batch, site, reading[site], numbers) for site in objective.student_sites}
        wanted = _wanted(parts, objective, batch, numbers)
        positions = torch.tensor(numbers, device=values.device)
        values = values.index_copy(0, positions, objective.loss(students, wanted))
    return values


def _taken(
    values: Float[Tensor, "n *size"], batch: Batch, site: Site, read: Sequence[int], numbers: Sequence[int]
) -> Float[Tensor, "m *size"]:
    """What was read of some of the sequences: all of it, or the positions that belong to them.

    Args:
        values: what was read at a site.
        batch: the sequences.
        site: where it was read.
        read: numbers of the sequences that the values are of.
        numbers: numbers of those whose values are wanted.
    """
    if list(read) == list(numbers):
        return values
    wanted, positions, start = set(numbers), list[int](), 0
    for number in read:
        count = len(batch.sequences[number].positions(site.positions))
        positions += range(start, start + count) if number in wanted else ()
        start += count
    return values.index_select(0, torch.tensor(positions, dtype=torch.long, device=values.device))


def _wanted(parts: Sequence[Part], objective: Objective, batch: Batch, numbers: Sequence[int]) -> Wanted:
    """What the students of an objective are to do, with their examples counted from 0."""
    device = batch.input_ids.device
    example = {}
    for site in objective.student_sites:
        counts = torch.tensor([len(batch.sequences[number].positions(site.positions)) for number in numbers])
        example[site] = torch.repeat_interleave(torch.arange(len(numbers)), counts).to(device)
    return Wanted(batch.responses(numbers), _targets(parts, objective, device), example, len(numbers))


def _targets(parts: Sequence[Part], objective: Objective, device: torch.device) -> Activations:
    """What the teacher did at an objective's sites, for the rows of the objective's parts."""
    by_site: dict[Site, Tensor] = {}
    for site in objective.teacher_sites:
        tensors = []
        for part in parts:
            if part.stage.objective == objective:
                assert part.rows.targets is not None, "train has checked that there are targets"
                tensors.append(part.rows.targets.activations(site, part.indices, device))
        by_site[site] = torch.cat(tensors)
    return by_site


def gradient_step(reader: Reader, parts: Sequence[Part], rows_per_pass: int | None = None) -> list[float]:
    """Leave the gradient of each part's own mean loss in the bank's `values.grad`; returns these losses.

    However many forward passes it takes, the gradient is that of all rows in one: each row counts once.

    Args:
        reader: the frozen model with a bank of adapters.
        parts: the rows that are learnt from, one part an adapter at the most.
        rows_per_pass: rows of each adapter in a forward pass, where a whole batch doesn't fit in memory.
    """
    bank_of(reader).values.grad = None
    count = [len(part.indices) for part in parts]
    totals = [0.0] * len(parts)
    for chunk in _passes(parts, rows_per_pass):
        values = losses(reader, [part for _, part in chunk])
        sums = [part.sum() for part in values.split_with_sizes([len(part.indices) for _, part in chunk])]
        shares = [total / count[number] for total, (number, _) in zip(sums, chunk, strict=True)]
        torch.stack(shares).sum().backward()  # type: ignore[no-untyped-call]
        for share, (number, _) in zip(shares, chunk, strict=True):
            totals[number] += share.item()
    return totals


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


def _passes(
    parts: Sequence[Part], rows_per_pass: int | None, most_tokens: int | None = None
) -> Iterator[list[tuple[int, Part]]]:
    """The parts, each with its number, in passes: `rows_per_pass` rows of each, long parts apart from short ones.

    A pass is as wide as its longest part. Where there are tokens enough to keep the machine busy, parts of other
    lengths have passes of their own instead of padding. Where `most_tokens` is given, no pass has more, if it can be
    helped.
    """
    order = sorted(range(len(parts)), key=lambda number: parts[number].tokens)
    alike: list[list[int]] = []
    for number in order:
        tokens = sum(parts[other].tokens for other in alike[-1]) if alike else 0
        if not alike or (tokens >= BUSY_TOKENS and parts[number].tokens > 1.2 * parts[alike[-1][0]].tokens):
            alike.append([])
        alike[-1].append(number)
    for group in alike:
        most = max(len(parts[number].indices) for number in group)
        size = rows_per_pass or most
        if rows_per_pass is None and most_tokens is not None:
            longest = max(len(sequence.inputs) for number in group for sequence in parts[number].sequences)
            size = max(1, most_tokens // (longest * len(group)))
        for start in range(0, most, size):
            limited = [(number, parts[number].limited(start, size)) for number in sorted(group)]
            yield [(number, part) for number, part in limited if part.indices]


@torch.no_grad()
def mean_losses(reader: Reader, parts: Sequence[Part], rows_per_pass: int | None = None) -> list[float]:
    """The mean loss of each part, without gradients, in passes of limited size."""
    totals = [0.0] * len(parts)
    for chunk in _passes(parts, rows_per_pass, pass_tokens(reader.network.device)):
        values = losses(reader, [part for _, part in chunk])
        by_part = values.split_with_sizes([len(part.indices) for _, part in chunk])
        for (number, _), part_losses in zip(chunk, by_part, strict=True):
            totals[number] += part_losses.sum().item()
    return [total / len(part.indices) for total, part in zip(totals, parts, strict=True)]
