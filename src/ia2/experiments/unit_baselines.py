"""What a unit measures without training an adapter: the model itself, in context, recalibrated, or left for another."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ia2.evaluation.evaluate import Evaluation
from ia2.evaluation.labels import LabelEvaluation
from ia2.evaluation.logistic import Features, LogisticClassifier
from ia2.evaluation.recalibration import batch, content_free_rows, contextual, recalibrated
from ia2.experiments.baseline_names import IN_CONTEXT, LOGISTIC
from ia2.experiments.unit_asking import Answered, UnitAsking
from ia2.tasks.task import Example, Task

Key = tuple[str, Literal["measured", "dev", "content-free"]]
FEATURES: dict[str, Features] = {"logistic-hidden": "hidden", "logistic-tfidf": "tfidf"}


@dataclass
class UnitBaselines:
    """The baselines of a unit. What several of them begin with, such as the answers in context, is computed once."""

    asking: UnitAsking
    _in_context: dict[Key, Answered] = field(default_factory=dict)
    """Answers in context, and the seconds that they took."""
    _classifiers: dict[str, LogisticClassifier] = field(default_factory=dict)

    def measured(self, name: str, task: Task) -> tuple[Evaluation | None, float]:
        """What a baseline answers to a task's rows, and the seconds that it took; None where there is no row.

        Seconds are those of the baseline alone: what it shares with others counts for each.

        Args:
            name: the baseline.
            task: the task, whose labels it has (`has_labels_of`).
        """
        if not (examples := self.asking.rows.of(task)):
            return None, 0.0
        return self._answered(name, task, examples, "measured")

    def on_dev_rows(self, name: str) -> Answered:
        """What it answers to the set's dev rows."""
        few_shot_set = self.asking.rows.few_shot_set
        return self._answered(name, few_shot_set.task, few_shot_set.dev, "dev")

    def has_labels_of(self, name: str, task: Task) -> bool:
        """Whether a baseline can answer a task: a classifier knows no labels but those of the task it was fitted to."""
        return name not in LOGISTIC or task.labels == self.asking.rows.few_shot_set.task.labels

    def options(self, name: str) -> dict[str, float]:
        """What was chosen for it on the dev rows."""
        classifier = self._classifiers.get(name)
        return {} if classifier is None else {"inverse_penalty": classifier.inverse_penalty}

    def _answered(
        self, name: str, task: Task, examples: Sequence[Example], which: Literal["measured", "dev"]
    ) -> Answered:
        phase = f"evaluate {name} on {task.name}" if which == "measured" else f"dev rows, {name}"
        if name in LOGISTIC:
            begun = time.perf_counter()
            evaluation = self._classifier(name).evaluate(examples)
            return Answered(evaluation, time.perf_counter() - begun)
        if name not in IN_CONTEXT:
            return self.asking.of_model(task, examples, phase)
        answers, seconds = self._shown(task, examples, which, phase)
        if name in ("icl", "context"):
            return Answered(answers, seconds)
        assert isinstance(answers, LabelEvaluation), "the study has been checked to ask for labels"
        if name == "icl-contextual":
            nothing, more = self._shown(task, content_free_rows(task), "content-free", phase)
            assert isinstance(nothing, LabelEvaluation), "it is of the same task"
            shares = contextual(answers.probabilities, nothing.probabilities)
            return Answered(recalibrated(answers, shares), seconds + more)
        # dev rows are too few to be a batch of their own
        others, _ = self._shown(task, self.asking.rows.of(task) or examples, "measured", phase)
        assert isinstance(others, LabelEvaluation), "it is of the same task"
        return Answered(recalibrated(answers, batch(answers.probabilities, others.probabilities)), seconds)

    def _shown(
        self, task: Task, examples: Sequence[Example], which: Literal["measured", "dev", "content-free"], phase: str
    ) -> Answered:
        """The answers in context to some rows of a task."""
        if (task.name, which) not in self._in_context:
            contexts = self.asking.contexts(len(examples))
            self._in_context[task.name, which] = self.asking.of_model(task, examples, phase, contexts)
        return self._in_context[task.name, which]

    def _classifier(self, name: str) -> LogisticClassifier:
        if name not in self._classifiers:
            few_shot_set = self.asking.rows.few_shot_set
            self._classifiers[name] = LogisticClassifier.fit(
                FEATURES[name], self.asking.model, few_shot_set.task, few_shot_set.train, few_shot_set.dev
            )
        return self._classifiers[name]
