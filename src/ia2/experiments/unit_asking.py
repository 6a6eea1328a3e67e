"""How a unit's rows are asked: of the model alone, in context, and with adapters, unless others have asked them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ia2.evaluation.evaluate import Asking, Evaluation, PerQuery, evaluate, evaluate_all
from ia2.experiments.candidates import Candidate
from ia2.experiments.schema import Experiment
from ia2.experiments.shared_work import SharedWork, evaluation_as_json, evaluation_from_json, form_of, key_of
from ia2.experiments.unit_rows import UnitRows
from ia2.inference.label_scoring import AnyLabelScoring, TaughtScoring, adapter_scoring_of
from ia2.models.load import LanguageModel
from ia2.progress import Progress
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Example, Shown, Task


class Answered(NamedTuple):
    """What was answered, and how long it took, also where that was for another unit."""

    evaluation: Evaluation
    seconds: float


@dataclass(frozen=True)
class UnitAsking:
    """A unit's model and rows, and how its study asks them."""

    experiment: Experiment
    model: LanguageModel
    rows: UnitRows
    progress: Progress
    work: SharedWork

    def asking(self, phase: str, label_scoring: AnyLabelScoring | None = None) -> Asking:
        """How rows are asked, in a phase of this name; labels compete as the study says, or otherwise."""
        return Asking(
            label_scoring=label_scoring or self.experiment.label_scoring,
            confidence=self.experiment.confidence,
            correct=self.experiment.correct,
            weights=self.experiment.evaluate,
            progress=self.progress,
            phase=phase,
        )

    def of_model(
        self, task: Task, examples: Sequence[Example], phase: str, contexts: Sequence[Sequence[Shown]] | None = None
    ) -> Answered:
        """What the model itself answers.

        Args:
            task: the task of the rows.
            examples: the rows; at least one.
            phase: what progress calls it.
            contexts: what is shown before each row; by default nothing.
        """
        shown = PerQuery([()] * len(examples) if contexts is None else contexts)
        asking = self.asking(phase)
        key = self._key("model", task, examples, shown, asking)
        if (known := self._known(key)) is not None:
            return known
        begun = time.perf_counter()
        evaluation = evaluate(self.model, examples, task, demonstrations=shown, asking=asking)
        answered = Answered(evaluation, time.perf_counter() - begun)
        # in memory nobody else asks with a set's own demonstrations
        several = self.work.lasts or not any(isinstance(part, Example) for context in shown for part in context)
        return self._kept(key, answered) if several else answered

    def of_adapters(
        self, candidates: Sequence[Candidate], task: Task, examples: Sequence[Example], phase: str
    ) -> list[Answered]:
        """What each adapter answers; those whose labels compete alike are asked together, and share the time.

        Args:
            candidates: the adapters.
            task: the task of the rows.
            examples: the rows; at least one.
            phase: what progress calls it, in which {} is what is asked.
        """
        scorings = [self.label_scoring(candidate, task) for candidate in candidates]
        keys = [
            self._key(candidate.key, task, examples, (), self.asking("", scoring))
            for candidate, scoring in zip(candidates, scorings, strict=True)
        ]
        answers = {index: known for index, key in enumerate(keys) if (known := self._known(key)) is not None}
        for scoring in dict.fromkeys(scorings):
            asked = [index for index, other in enumerate(scorings) if other == scoring and index not in answers]
            if not asked:
                continue
            named = phase.format(f"{len(asked)} adapter{'s' * (len(asked) > 1)}")
            adapters = [candidates[index].trained.adapter for index in asked]
            begun = time.perf_counter()
            evaluations = evaluate_all(self.model, examples, task, adapters, self.asking(named, scoring))
            seconds = (time.perf_counter() - begun) / len(asked)
            for index, evaluation in zip(asked, evaluations, strict=True):
                answer = Answered(evaluation, seconds)
                # in memory nobody else asks a unit's adapters
                answers[index] = self._kept(keys[index], answer) if self.work.lasts else answer
        return [answers[index] for index in range(len(candidates))]

    def _key(
        self, asked: str, task: Task, examples: Sequence[Example], shown: Sequence[Sequence[Shown]], asking: Asking
    ) -> str:
        """All that answers depend on: the model or adapter that is asked, the rows and what stands before them."""
        competing = (asking.label_scoring, asking.confidence, asking.correct, asking.weights)
        model = self.model.fingerprint
        return key_of(
            "answers", asked, model, form_of(task), tuple(examples), [tuple(part) for part in shown], competing
        )

    def _known(self, key: str) -> Answered | None:
        known = self.work.result(key)
        return None if known is None else Answered(evaluation_from_json(known["evaluation"]), known["seconds"])

    def _kept(self, key: str, answered: Answered) -> Answered:
        content = {"evaluation": evaluation_as_json(answered.evaluation), "seconds": answered.seconds}
        self.work.keep_result(key, content)
        return answered

    def label_scoring(self, candidate: Candidate, task: Task) -> TaughtScoring | None:
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
