"""The student: rows without demonstrations beside what the teacher did with them, and the losses of many at once."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import PreTrainedModel

from ia2.adapters.bank import Bank
from ia2.models.layout import TokenSequence, lay_out, pass_tokens, shared_rows
from ia2.models.load import LanguageModel
from ia2.models.memory import saved_bytes
from ia2.models.reader import forward, response_logits
from ia2.models.sites import record_attention
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.randomness import derived_seed
from ia2.tasks.task import Example, Task
from ia2.training.methods import Stage
from ia2.training.objectives import Activation, Objective, StudentOutputs, Wanted
from ia2.training.teacher import TargetFiles, Targets

BUSY_TOKENS = 400
"""Tokens that keep two cores busy with multiplying."""


@dataclass(frozen=True)
class StudentRows:
    """Rows as the student meets them, without demonstrations, beside what the teacher did with them."""

    sequences: Sequence[TokenSequence]
    targets: TargetFiles | None

    def longest(self, count: int) -> list[int]:
        """The indices of the rows with most tokens, so many of them."""
        order = sorted(range(len(self.sequences)), key=lambda index: -len(self.sequences[index].inputs))
        return order[:count]

    @classmethod
    def of(
        cls, rows: Sequence[Example], targets: TargetFiles | None, stage: Stage, model: LanguageModel, task: Task
    ) -> "StudentRows":
        """Tokenise rows with the responses that the stage trains on."""
        tokenizer = PromptTokenizer.of(model, task)
        if stage.labels == "ground-truth":
            return cls([tokenizer.sequence(row.query, row.response) for row in rows], targets)
        assert targets is not None, "train has checked that there are targets"
        return cls(
            [
                tokenizer.checked(TokenSequence(tokenizer.asked(row.query), tokens), row.query)
                for row, tokens in zip(rows, targets.responses(), strict=True)
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
        task, rows, asked = few_shot_set.task, few_shot_set.train, targets.train if targets else None
        if stage.labels == "icl-response" and targets is not None:
            # these need no labels, so that unlabelled queries serve as well
            rows += tuple(Example(query, "") for query in few_shot_set.unlabelled_queries())
            asked = TargetFiles(targets.train.files + targets.unlabelled.files)
        return cls(
            stage,
            StudentRows.of(rows, asked, stage, model, task),
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


def losses(network: PreTrainedModel, parts: Sequence[Part], bank: Bank | None = None) -> Float[Tensor, " examples"]:
    """The loss of each row of all parts, in their order, from one forward pass.

    No language-model head is run at a row whose objective reads attention alone, and nothing is recorded at one whose
    objective reads logits.

    Args:
        network: the frozen model.
        parts: which rows, each part with its adapter and its stage.
        bank: the adapters; without them the model is measured as it is.
    """
    sequences = [sequence for part in parts for sequence in part.sequences]
    stages = [part.stage for part in parts for _ in part.indices]
    noise = [
        derived_seed(part.noise, f"row {index}") if part.noise is not None else None
        for part in parts
        for index in part.indices
    ]
    # with dropout, tokens that sequences have in common are different in each
    share = bank is None or not bank.leaves_out(noise)
    groups = [part.adapter for part in parts for _ in part.indices]
    rows, adapters = shared_rows(sequences, groups, share=share)
    batch = lay_out(sequences, rows=rows, share=share, device=network.device)
    adapter_of_row = torch.tensor(adapters, device=network.device)
    aligned, answering = (
        batch.of(torch.tensor([what in stage.objective.student for stage in stages]))
        for what in ("attention", "logits")
    )
    logits = None
    with (
        bank.reading(answering, adapter_of_row, noise) if bank is not None else nullcontext((answering, None)) as (
            read,
            cache,
        ),
        record_attention(network, aligned.at) if len(aligned.example) else nullcontext() as recorded,
    ):
        if len(answering.example):
            logits = response_logits(network, read, cache)
        else:
            forward(network, read, cache)
    attention = recorded.stacked() if recorded is not None else None
    values = torch.zeros(len(sequences), device=network.device)
    for objective in dict.fromkeys(stage.objective for stage in stages):
        own = torch.tensor([stage.objective == objective for stage in stages], device=network.device)
        mine = batch.of(own)
        outputs = StudentOutputs(
            attention[:, own[aligned.example]] if attention is not None and "attention" in objective.student else None,
            logits[own[answering.example]] if logits is not None and "logits" in objective.student else None,
        )
        number = own.cumsum(0) - 1
        theirs = _targets(parts, objective, network.device)
        wanted = Wanted(
            mine.response, theirs.get("attention"), number[mine.example], int(own.sum()), theirs.get("logits")
        )
        values = values.index_copy(0, own.nonzero()[:, 0], objective.loss(outputs, wanted))
    return values


def _targets(parts: Sequence[Part], objective: Objective, device: torch.device) -> dict[Activation, Tensor]:
    """What the teacher did at the response positions of an objective's rows, read from disk where it is needed."""
    found: dict[Activation, list[Tensor]] = {activation: [] for activation in objective.teacher}
    for part in parts:
        if part.stage.objective != objective or not objective.teacher:
            continue
        assert part.rows.targets is not None, "train has checked that there are targets"
        for index in part.indices:
            target = part.rows.targets[index]
            if "attention" in found:
                found["attention"].append(target.attention)
            if "logits" in found:
                assert target.logits is not None, "train has checked that there are distributions"
                found["logits"].append(target.logits)
    # rows come first in logits, layers in attention outputs
    return {
        activation: torch.cat(tensors, dim=1 if activation == "attention" else 0).to(device)
        for activation, tensors in found.items()
    }


def gradient_step(
    network: PreTrainedModel, bank: Bank, parts: Sequence[Part], rows_per_pass: int | None = None
) -> list[float]:
    """Leave the gradient of each part's own mean loss in `bank.values.grad`; returns these losses.

    However many forward passes it takes, the gradient is that of all rows in one: each row counts once.

    Args:
        network: the frozen model.
        bank: the adapters.
        parts: the rows that are learnt from, one part an adapter at the most.
        rows_per_pass: rows of each adapter in a forward pass, where a whole batch doesn't fit in memory.
    """
    bank.values.grad = None
    count = [len(part.indices) for part in parts]
    totals = [0.0] * len(parts)
    for chunk in _passes(parts, rows_per_pass):
        values = losses(network, [part for _, part in chunk], bank)
        sums = [own.sum() for own in values.split_with_sizes([len(part.indices) for _, part in chunk])]
        shares = [own / count[number] for own, (number, _) in zip(sums, chunk, strict=True)]
        torch.stack(shares).sum().backward()  # type: ignore[no-untyped-call]
        for share, (number, _) in zip(shares, chunk, strict=True):
            totals[number] += share.item()
    return totals


def step_bytes(network: PreTrainedModel, bank: Bank, part: Part) -> int:
    """About how many bytes a step with these rows takes beyond the model, found by one forward pass.

    What is kept for the backward pass, half of that again for what comes and goes, and eight copies of the adapters:
    what they began as, themselves, their gradient as rows have it and summed, Adam's two moments, the root of one, and
    the best so far.
    """
    # with dropout rows share nothing, and their masks are kept as well
    learnt = replace(part, noise=0)
    kept = saved_bytes(lambda: losses(network, [learnt], bank), network)
    return int(1.5 * kept) + 8 * bank.values.numel() * bank.values.element_size()


def _passes(
    parts: Sequence[Part], rows_per_pass: int | None, most_tokens: int | None = None
) -> Iterator[list[tuple[int, Part]]]:
    """The parts, each with its number, in passes: so many rows of each at a time, and no long beside short ones.

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
def mean_losses(
    network: PreTrainedModel, parts: Sequence[Part], bank: Bank | None = None, rows_per_pass: int | None = None
) -> list[float]:
    """The mean loss of each part, without gradients, in passes of limited size."""
    totals = [0.0] * len(parts)
    for chunk in _passes(parts, rows_per_pass, pass_tokens(network.device)):
        values = losses(network, [part for _, part in chunk], bank)
        own = values.split_with_sizes([len(part.indices) for _, part in chunk])
        for (number, _), found in zip(chunk, own, strict=True):
            totals[number] += found.sum().item()
    return [total / len(part.indices) for total, part in zip(totals, parts, strict=True)]
