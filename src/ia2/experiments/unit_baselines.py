"""Baselines of a unit, which train no adapter: zero-shot, in-context, recalibrated ICL and logistic regression."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ia2.evaluation.evaluate import Evaluation
from ia2.evaluation.labels import LabelEvaluation
from ia2.evaluation.logistic import Features, LogisticClassifier
from ia2.evaluation.recalibration import batch, content_free_rows, contextual, recalibrated
from ia2.experiments.baseline_names import IN_CONTEXT, LOGISTIC
from ia2.experiments.unit_evaluator import TimedEvaluation, UnitEvaluator
from ia2.tasks.task import Example, Task

Key = tuple[str, Literal["measured", "dev", "content-free"]]
FEATURES: dict[str, Features] = {"logistic-hidden": "hidden", "logistic-tfidf": "tfidf"}


@dataclass
class UnitBaselines:
    """The baselines of a unit. Evaluations that several of them build on, such as ICL's, are computed once."""

    evaluator: UnitEvaluator
    _in_context: dict[Key, TimedEvaluation] = field(default_factory=dict)
    """In-context evaluations with their seconds, by task name and kind of rows."""
    _classifiers: dict[str, LogisticClassifier] = field(default_factory=dict)

    def measured(self, name: str, task: Task) -> tuple[Evaluation | None, float]:
        """Evaluate a baseline on a task; return the evaluation, None if the task has no rows, and its seconds.

        The seconds are what the baseline takes alone: an evaluation shared with other baselines counts in full.

        Args:
            name: the baseline.
            task: a task whose labels it can predict (`has_labels_of`).
        """
        if not (examples := self.evaluator.rows.of(task)):
            return None, 0.0
        return self._answered(name, task, examples, "measured")

    def on_dev_rows(self, name: str) -> TimedEvaluation:
        """Evaluate a baseline on the set's dev rows."""
        few_shot_set = self.evaluator.rows.few_shot_set
        return self._answered(name, few_shot_set.task, few_shot_set.dev, "dev")

    def has_labels_of(self, name: str, task: Task) -> bool:
        """Return whether a baseline can predict a task's labels; a classifier knows only those it was fitted to."""
        return name not in LOGISTIC or task.labels == self.evaluator.rows.few_shot_set.task.labels

    def options(self, name: str) -> dict[str, float]:
        """Return the hyperparameters chosen on the dev rows, by name."""
        classifier = self._classifiers.get(name)
        return {} if classifier is None else {"inverse_penalty": classifier.inverse_penalty}

    def _answered(
        self, name: str, task: Task, examples: Sequence[Example], which: Literal["measured", "dev"]
    ) -> TimedEvaluation:
        phase = f"evaluate {name} on {task.name}" if which == "measured" else f"dev rows, {name}"
        if name in LOGISTIC:
            begun = time.perf_counter()
            evaluation = self._classifier(name).evaluate(examples)
            return TimedEvaluation(evaluation, time.perf_counter() - begun)
        if name not in IN_CONTEXT:
            return self.evaluator.of_model(task, examples, phase)
        answers, seconds = self._evaluated_in_context(task, examples, which, phase)
        if name in ("icl", "context"):
            return TimedEvaluation(answers, seconds)
        assert isinstance(answers, LabelEvaluation), "the study has been checked to ask for labels"
        if name == "icl-contextual":
            content_free, content_free_seconds = self._evaluated_in_context(
                task, content_free_rows(task), "content-free", phase
            )
            assert isinstance(content_free, LabelEvaluation), "it is of the same task"
            probabilities = contextual(answers.probabilities, content_free.probabilities)
            return TimedEvaluation(recalibrated(answers, probabilities), seconds + content_free_seconds)
        # the dev rows alone are too few for batch calibration
        batch_answers, _ = self._evaluated_in_context(task, self.evaluator.rows.of(task) or examples, "measured", phase)
        assert isinstance(batch_answers, LabelEvaluation), "it is of the same task"
        return TimedEvaluation(
            recalibrated(answers, batch(answers.probabilities, batch_answers.probabilities)), seconds
        )

    def _evaluated_in_context(
        self, task: Task, examples: Sequence[Example], which: Literal["measured", "dev", "content-free"], phase: str
    ) -> TimedEvaluation:
        """Evaluate rows of a task in context, once per kind of rows."""
        if (task.name, which) not in self._in_context:
            contexts = self.evaluator.contexts(len(examples))
            self._in_context[task.name, which] = self.evaluator.of_model(task, examples, phase, contexts)
        return self._in_context[task.name, which]

    def _classifier(self, name: str) -> LogisticClassifier:
        if name not in self._classifiers:
            few_shot_set = self.evaluator.rows.few_shot_set
            self._classifiers[name] = LogisticClassifier.fit(
                FEATURES[name], self.evaluator.model, few_shot_set.task, few_shot_set.train, few_shot_set.dev
            )
        return self._classifiers[name]
