from dataclasses import replace

import pytest
from small_study import study

from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.evaluation.evaluate import EvaluationSettings, evaluate
from ia2.evaluation.likelihood import mean_log_likelihood, windows_of
from ia2.experiments import unit_forgetting
from ia2.experiments.candidates import Candidate
from ia2.experiments.plan import Planned, units
from ia2.experiments.shared_work import SharedWork
from ia2.experiments.unit_evaluator import UnitEvaluator
from ia2.experiments.unit_forgetting import UnitForgetting
from ia2.experiments.unit_rows import unit_rows
from ia2.progress import SILENT
from ia2.training.methods import METHODS
from ia2.training.plans import Trained


@pytest.fixture
def forgetting(tiny_model, toy_task):
    experiment = study(sets=1, label_scoring="auto")
    rows = unit_rows(experiment, units(experiment)[0], tiny_model)
    other = toy_task.limited(8)
    rows = replace(rows, forgetting=(other,), held_texts=tuple(row.query for row in other.evaluation))
    return UnitForgetting(UnitEvaluator(experiment, tiny_model, rows, SILENT, SharedWork()))


def candidate(model, change):
    adapter = fresh_adapter(model.network, LoRA().configuration(model.network), 0)
    weights = {name: value + change for name, value in adapter.weights.items()}
    return Candidate(
        Planned(LoRA(), METHODS["ia2"], None, 1e-3),
        Trained(Adapter(adapter.configuration, weights), 1e-3, ()),
        None,
        {},
        f"{change}",
    )


def test_other_tasks_and_texts_are_measured_with_each_adapter_and_without(tiny_model, forgetting):
    (task,), candidates = forgetting.evaluator.rows.forgetting, [candidate(tiny_model, change) for change in (0.0, 0.1)]
    metrics, seconds = forgetting.of(candidates)
    settings = EvaluationSettings(label_scoring="token")
    alone = evaluate(tiny_model, task.evaluation, task, settings=settings).metrics()["label_accuracy"]
    windows = windows_of(tiny_model, forgetting.evaluator.rows.held_texts)
    for of_adapter, made in zip(metrics, candidates, strict=True):
        adapter = made.trained.adapter
        expected = evaluate(tiny_model, task.evaluation, task, adapter=adapter, settings=settings).metrics()[
            "label_accuracy"
        ]
        assert of_adapter["forgetting"] == [
            {"task": "toy", "n": 8, "accuracy": expected, "accuracy_without": alone}
        ]  # fmt: skip
        likelihood = mean_log_likelihood(tiny_model, windows, adapter)
        assert of_adapter["held_log_likelihood"] == pytest.approx(likelihood)
        assert of_adapter["held_log_likelihood_without"] == pytest.approx(mean_log_likelihood(tiny_model, windows))
        assert of_adapter["held_tokens"] == sum(len(window.response) for window in windows)
    assert metrics[0]["held_log_likelihood"] == pytest.approx(metrics[0]["held_log_likelihood_without"], abs=1e-6)
    assert metrics[1]["held_log_likelihood"] != pytest.approx(metrics[1]["held_log_likelihood_without"], abs=1e-3)
    assert seconds["forgetting"] > 0


def test_the_model_alone_is_measured_once(tiny_model, forgetting, monkeypatch):
    calls = []
    plain = unit_forgetting.mean_log_likelihood
    monkeypatch.setattr(
        unit_forgetting,
        "mean_log_likelihood",
        lambda model, windows, adapter=None, **more: (
            calls.append(adapter is None), plain(model, windows, adapter, **more)
        )[1],
    )  # fmt: skip
    for _ in range(2):
        forgetting.of([candidate(tiny_model, 0.1)])
    assert calls.count(True) == 1


def test_nothing_is_measured_where_nobody_asks(tiny_model, forgetting):
    rows = replace(forgetting.evaluator.rows, forgetting=(), held_texts=())
    quiet = UnitForgetting(replace(forgetting.evaluator, rows=rows))
    assert quiet.of([candidate(tiny_model, 0.1)]) == ([{}], {})
    assert forgetting.of([]) == ([], {})
