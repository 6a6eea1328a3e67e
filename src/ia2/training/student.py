"""The student's rows: queries without demonstrations, with the teacher's targets."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ia2.models.load import LanguageModel
from ia2.models.sequences import TokenSequence
from ia2.prompting.fewshot import FewShotSet
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Example, Task
from ia2.training.methods import Stage
from ia2.training.targets import TargetRows, Targets


@dataclass(frozen=True)
class StudentRows:
    """Tokenised rows without demonstrations, with the teacher's targets."""

    sequences: Sequence[TokenSequence]
    targets: TargetRows | None

    def longest(self, count: int) -> list[int]:
        """Return the indices of the `count` longest rows."""
        order = sorted(range(len(self.sequences)), key=lambda index: -len(self.sequences[index].inputs))
        return order[:count]

    @classmethod
    def of(
        cls, rows: Sequence[Example], targets: TargetRows | None, stage: Stage, model: LanguageModel, task: Task
    ) -> "StudentRows":
        """Tokenise rows with the responses that the stage trains on."""
        tokenizer = PromptTokenizer.of(model, task)
        if stage.labels == "ground-truth" and not stage.objective.teacher_sites:
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
    """Training and dev rows of one stage."""

    stage: Stage
    train: StudentRows
    dev: StudentRows

    @classmethod
    def of(cls, stage: Stage, few_shot_set: FewShotSet, targets: Targets | None, model: LanguageModel) -> "StageRows":
        """Return the training and dev rows of a few-shot set for a stage."""
        targets = read_by(stage, targets)
        task, rows, train_targets = few_shot_set.task, few_shot_set.train, targets.train if targets else None
        if stage.labels == "icl-response" and targets is not None:
            # the teacher's responses replace labels, so unlabelled queries can be used too
            unlabelled = tuple(Example(query, "") for query in few_shot_set.unlabelled_queries())
            rows = unlabelled if stage.rows == "unlabelled" else rows + unlabelled
            train_targets = targets.unlabelled if stage.rows == "unlabelled" else targets.taught
        return cls(
            stage,
            StudentRows.of(rows, train_targets, stage, model, task),
            StudentRows.of(few_shot_set.dev, targets.dev if targets else None, stage, model, task),
        )


def read_by(stage: Stage, targets: Targets | None) -> Targets | None:
    """Return the targets that a stage uses: on the teacher's own responses, or on the rows' responses."""
    if targets is None or stage.labels == "icl-response" or not stage.objective.teacher_sites:
        return targets
    assert targets.on_responses is not None, "train has checked that there are targets"
    return targets.on_responses


@dataclass(frozen=True)
class Part:
    """Rows of one adapter for one stage."""

    stage: Stage
    rows: StudentRows
    indices: Sequence[int]
    adapter: int = 0
    """Index of the adapter in the bank."""
    noise: int | None = None
    """Dropout seed; None for evaluation."""

    @property
    def sequences(self) -> list[TokenSequence]:
        """The token sequences of the rows."""
        return [self.rows.sequences[index] for index in self.indices]

    @property
    def tokens(self) -> int:
        """Total number of input tokens."""
        return sum(len(sequence.inputs) for sequence in self.sequences)

    def limited(self, start: int, count: int) -> "Part":
        """Return the part with `count` rows from `start`, or with as many as it has there."""
        return replace(self, indices=self.indices[start : start + count])
