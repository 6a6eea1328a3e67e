"""How a unit's rows are asked: of the model alone, in context, and with adapters."""

from collections.abc import Sequence
from dataclasses import dataclass

from ia2.evaluation.evaluate import Asking, Evaluation, PerQuery, evaluate, evaluate_all
from ia2.experiments.candidates import Candidate
from ia2.experiments.schema import Experiment
from ia2.experiments.unit_rows import UnitRows
from ia2.inference.label_scoring import AnyLabelScoring, LabelScoring, adapter_scoring_of
from ia2.models.load import LanguageModel
from ia2.progress import Progress
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Example, Shown, Task


@dataclass(frozen=True)
class UnitAsking:
    """A unit's model and rows, and how its study asks them."""

    experiment: Experiment
    model: LanguageModel
    rows: UnitRows
    progress: Progress

    def asking(self, phase: str, label_scoring: AnyLabelScoring | None = None) -> Asking:
        """How rows are asked, in a phase of this name; labels compete as the study says, or otherwise."""
        return Asking(
            label_scoring=label_scoring or self.experiment.label_scoring,
            confidence=self.experiment.confidence,
            correct=self.experiment.correct,
            merged=self.experiment.evaluate == "merged",
            progress=self.progress,
            phase=phase,
        )

    def of_model(
        self, task: Task, examples: Sequence[Example], phase: str, contexts: Sequence[Sequence[Shown]] | None = None
    ) -> Evaluation:
        """What the model itself answers.

        Args:
            task: the task of the rows.
            examples: the rows; at least one.
            phase: what progress calls it.
            contexts: what is shown before each row; by default nothing.
        """
        shown = PerQuery([()] * len(examples) if contexts is None else contexts)
        return evaluate(self.model, examples, task, demonstrations=shown, asking=self.asking(phase))

    def of_adapters(
        self, candidates: Sequence[Candidate], task: Task, examples: Sequence[Example], phase: str
    ) -> list[Evaluation]:
        """What each adapter answers; those whose labels compete alike are asked together.

        Args:
            candidates: the adapters.
            task: the task of the rows.
            examples: the rows; at least one.
            phase: what progress calls it, in which {} is what is asked.
        """
        scorings = [self.label_scoring(candidate, task) for candidate in candidates]
        evaluations: dict[int, Evaluation] = {}
        for scoring in dict.fromkeys(scorings):
            asked = [index for index, of_candidate in enumerate(scorings) if of_candidate == scoring]
            named = phase.format(f"{len(asked)} adapter{'s' * (len(asked) > 1)}")
            adapters = [candidates[index].trained.adapter for index in asked]
            answers = evaluate_all(self.model, examples, task, adapters, self.asking(named, scoring))
            evaluations |= dict(zip(asked, answers, strict=True))
        return [evaluations[index] for index in range(len(candidates))]

    def label_scoring(self, candidate: Candidate, task: Task) -> LabelScoring | None:
        """How a task's labels compete with an adapter; None where its responses are free text."""
        if not task.labels:
            return None
        method, tokenizer = candidate.planned.method, PromptTokenizer.of(self.model, task)
        return adapter_scoring_of(task, tokenizer, self.experiment.label_scoring, fits_tokens=method.fits_tokens)

    def contexts(self, queries: int) -> Sequence[Sequence[Shown]]:
        """What is shown before each of so many queries in context: the set's demonstrations, or others for each."""
        few_shot_set = self.rows.few_shot_set
        if self.experiment.demonstrations == "shared":
            return [few_shot_set.demonstrations()] * queries
        if self.experiment.demonstrations == "reshuffled":
            return few_shot_set.reshuffled_contexts(queries)
        return few_shot_set.resampled_contexts(queries)
