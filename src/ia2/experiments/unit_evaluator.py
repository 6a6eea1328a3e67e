"""Evaluations of a unit's model, zero-shot, in context and with adapters; cached results are reused."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ia2.evaluation.evaluate import Evaluation, EvaluationSettings, PerQuery, evaluate, evaluate_all
from ia2.experiments.candidates import Candidate
from ia2.experiments.schema import Experiment
from ia2.experiments.shared_work import SharedWork, evaluation_as_json, evaluation_from_json, form_of, key_of
from ia2.experiments.unit_rows import UnitRows
from ia2.inference.label_scoring import AnyLabelScoring, TaughtScoring, adapter_scoring_of
from ia2.models.load import LanguageModel
from ia2.progress import Progress
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import ContextItem, Example, Task


class TimedEvaluation(NamedTuple):
    """An evaluation and the seconds it took, even if another unit computed it."""

    evaluation: Evaluation
    seconds: float


@dataclass(frozen=True)
class UnitEvaluator:
    """Evaluates a unit's model and adapters with the study's settings."""

    experiment: Experiment
    model: LanguageModel
    rows: UnitRows
    progress: Progress
    work: SharedWork

    def settings(self, phase: str, label_scoring: AnyLabelScoring | None = None) -> EvaluationSettings:
        """Return the study's evaluation settings.

        Args:
            phase: name of the phase in progress messages.
            label_scoring: how labels are scored; by default as the study says.
        """
        return EvaluationSettings(
            label_scoring=label_scoring or self.experiment.label_scoring,
            confidence=self.experiment.confidence,
            correct=self.experiment.correct,
            weights=self.experiment.evaluate,
            progress=self.progress,
            phase=phase,
        )

    def of_model(
        self,
        task: Task,
        examples: Sequence[Example],
        phase: str,
        contexts: Sequence[Sequence[ContextItem]] | None = None,
    ) -> TimedEvaluation:
        """Evaluate the model without an adapter.

        Args:
            task: the task of the rows.
            examples: the rows; at least one.
            phase: name of the phase in progress messages.
            contexts: demonstrations or instruction before each query; none by default.
        """
        per_query = PerQuery([()] * len(examples) if contexts is None else contexts)
        settings = self.settings(phase)
        key = self._key("model", task, examples, per_query, settings)
        if (cached := self._cached(key)) is not None:
            return cached
        begun = time.perf_counter()
        evaluation = evaluate(self.model, examples, task, demonstrations=per_query, settings=settings)
        answered = TimedEvaluation(evaluation, time.perf_counter() - begun)
        # an in-memory cache lives for one run, in which no other unit has this set's demonstrations
        reusable = self.work.lasts or not any(isinstance(part, Example) for context in per_query for part in context)
        return self._store(key, answered) if reusable else answered

    def of_adapters(
        self, candidates: Sequence[Candidate], task: Task, examples: Sequence[Example], phase: str
    ) -> list[TimedEvaluation]:
        """Evaluate each adapter. Adapters with the same label scoring share forward passes and split the time evenly.

        Args:
            candidates: the adapters.
            task: the task of the rows.
            examples: the rows; at least one.
            phase: name of the phase in progress messages; {} stands for the number of adapters.
        """
        scorings = [self.label_scoring(candidate, task) for candidate in candidates]
        keys = [
            self._key(candidate.key, task, examples, (), self.settings("", scoring))
            for candidate, scoring in zip(candidates, scorings, strict=True)
        ]
        answers = {index: cached for index, key in enumerate(keys) if (cached := self._cached(key)) is not None}
        for scoring in dict.fromkeys(scorings):
            uncached = [index for index, other in enumerate(scorings) if other == scoring and index not in answers]
            if not uncached:
                continue
            phase_name = phase.format(f"{len(uncached)} adapter{'s' * (len(uncached) > 1)}")
            adapters = [candidates[index].trained.adapter for index in uncached]
            begun = time.perf_counter()
            evaluations = evaluate_all(self.model, examples, task, adapters, self.settings(phase_name, scoring))
            seconds = (time.perf_counter() - begun) / len(uncached)
            for index, evaluation in zip(uncached, evaluations, strict=True):
                answer = TimedEvaluation(evaluation, seconds)
                # an in-memory cache lives for one run, in which no other unit has these adapters
                answers[index] = self._store(keys[index], answer) if self.work.lasts else answer
        return [answers[index] for index in range(len(candidates))]

    def _key(
        self,
        evaluated: str,
        task: Task,
        examples: Sequence[Example],
        contexts: Sequence[Sequence[ContextItem]],
        settings: EvaluationSettings,
    ) -> str:
        """Return the cache key: model or adapter, task, rows, their contexts and the scoring settings."""
        scoring = (settings.label_scoring, settings.confidence, settings.correct, settings.weights)
        model = self.model.fingerprint
        return key_of(
            "answers", evaluated, model, form_of(task), tuple(examples), [tuple(part) for part in contexts], scoring
        )

    def _cached(self, key: str) -> TimedEvaluation | None:
        cached = self.work.result(key)
        return (
            None if cached is None else TimedEvaluation(evaluation_from_json(cached["evaluation"]), cached["seconds"])
        )

    def _store(self, key: str, answered: TimedEvaluation) -> TimedEvaluation:
        content = {"evaluation": evaluation_as_json(answered.evaluation), "seconds": answered.seconds}
        self.work.keep_result(key, content)
        return answered

    def label_scoring(self, candidate: Candidate, task: Task) -> TaughtScoring | None:
        """Return how an adapter scores a task's labels; None if the task's responses are free text."""
        if not task.labels:
            return None
        method, tokenizer = candidate.planned.method, PromptTokenizer.of(self.model, task)
        return adapter_scoring_of(task, tokenizer, self.experiment.label_scoring, fits_tokens=method.fits_tokens)

    def contexts(self, queries: int) -> Sequence[Sequence[ContextItem]]:
        """Return the context of each of `queries` queries: the set's demonstrations, reshuffled or resampled ones."""
        few_shot_set = self.rows.few_shot_set
        if self.experiment.demonstrations == "shared":
            return [few_shot_set.demonstrations()] * queries
        if self.experiment.demonstrations == "reshuffled":
            return few_shot_set.reshuffled_contexts(queries)
        return few_shot_set.resampled_contexts(queries)
