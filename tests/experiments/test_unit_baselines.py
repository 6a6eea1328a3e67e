from dataclasses import replace

import numpy as np
import pytest
from small_study import study

from ia2.evaluation.evaluate import EvaluationSettings, evaluate
from ia2.evaluation.logistic import LogisticClassifier
from ia2.experiments import unit_evaluator
from ia2.experiments.plan import units
from ia2.experiments.shared_work import SharedWork
from ia2.experiments.unit_baselines import UnitBaselines
from ia2.experiments.unit_evaluator import UnitEvaluator
from ia2.experiments.unit_rows import unit_rows
from ia2.progress import SILENT
from ia2.tasks.task import Example


@pytest.fixture
def baselines(tiny_model):
    experiment = study(sets=1, draw="class")
    rows = unit_rows(experiment, units(experiment)[0], tiny_model)
    return UnitBaselines(UnitEvaluator(experiment, tiny_model, rows, SILENT, SharedWork()))


def softmax(scores):
    return np.exp(scores) / np.exp(scores).sum(1, keepdims=True)


def shown(baselines, examples):
    few = baselines.evaluator.rows.few_shot_set
    settings = EvaluationSettings(label_scoring="whole")
    return evaluate(
        baselines.evaluator.model, examples, few.task, demonstrations=few.demonstrations(), settings=settings
    ).probabilities


def test_recalibrated_answers_follow_from_those_in_context(baselines):
    few = baselines.evaluator.rows.few_shot_set
    in_context, dev = shown(baselines, few.evaluation), shown(baselines, few.dev)
    nothing = shown(baselines, [Example(f"Text:{text}.\nLabel:", " negative") for text in ("N/A", "", "[MASK]")])
    contextual, _ = baselines.measured("icl-contextual", few.task)
    assert contextual.probabilities == pytest.approx(softmax(in_context / nothing.mean(0)), abs=1e-4)
    batch, _ = baselines.measured("icl-batch", few.task)
    assert batch.probabilities == pytest.approx(softmax(in_context - in_context.mean(0)), abs=1e-4)
    # dev rows are recalibrated as the measured rows are
    assert baselines.on_dev_rows("icl-batch").evaluation.probabilities == pytest.approx(
        softmax(dev - in_context.mean(0)), abs=1e-4
    )
    for row in batch.predictions:
        assert row.correct is row.label_correct is (row.predicted == row.response)


def test_answers_in_context_are_asked_for_once(baselines, monkeypatch):
    calls, few = [], baselines.evaluator.rows.few_shot_set
    asked = unit_evaluator.evaluate
    monkeypatch.setattr(unit_evaluator, "evaluate", lambda *a, **k: (calls.append(1), asked(*a, **k))[1])
    seconds = [baselines.measured(name, few.task)[1] for name in ("icl", "icl-batch", "icl-contextual")]
    assert len(calls) == 2  # the rows, and queries that say nothing
    # each is as expensive as if it were alone
    assert seconds[0] == seconds[1] < seconds[2]


def test_a_classifier_is_fitted_to_the_sets_rows_and_knows_their_labels_alone(baselines):
    few = baselines.evaluator.rows.few_shot_set
    evaluation, _ = baselines.measured("logistic-hidden", few.task)
    expected = LogisticClassifier.fit("hidden", baselines.evaluator.model, few.task, few.train, few.dev)
    assert evaluation.probabilities == pytest.approx(expected.evaluate(few.evaluation).probabilities, abs=1e-6)
    assert baselines.options("logistic-hidden") == {"inverse_penalty": expected.inverse_penalty}
    assert baselines.options("icl") == {}
    other = replace(few.task, name="other", labels=(" yes", " no"), pool=(), evaluation=())
    assert not baselines.has_labels_of("logistic-tfidf", other)
    assert baselines.has_labels_of("icl-batch", other)


def test_without_rows_nothing_is_answered(baselines):
    few = baselines.evaluator.rows.few_shot_set
    empty = replace(baselines.evaluator.rows, few_shot_set=replace(few, evaluation=()))
    bare = UnitBaselines(replace(baselines.evaluator, rows=empty))
    assert bare.measured("icl-batch", few.task) == (None, 0.0)
