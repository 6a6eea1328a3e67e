import pytest
from small_study import study

from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.evaluation.evaluate import EvaluationSettings, evaluate
from ia2.experiments import unit_evaluator
from ia2.experiments.candidates import Candidate
from ia2.experiments.plan import Planned, units
from ia2.experiments.shared_work import SharedWork
from ia2.experiments.unit_evaluator import UnitEvaluator
from ia2.experiments.unit_rows import unit_rows
from ia2.progress import SILENT
from ia2.training.methods import METHODS
from ia2.training.plans import Trained


def evaluator_of(model, work=None, seed=0, **changes):
    experiment = study(sets=1, first_seed=seed, **changes)
    rows = unit_rows(experiment, units(experiment)[0], model)
    return UnitEvaluator(experiment, model, rows, SILENT, work or SharedWork())


@pytest.fixture
def evaluator(tiny_model):
    return evaluator_of(tiny_model)


def candidate(model, method, seed):
    adapter = fresh_adapter(model.network, LoRA().configuration(model.network), seed)
    weights = {name: value + 0.02 * (seed + 1) for name, value in adapter.weights.items()}
    trained = Trained(Adapter(adapter.configuration, weights), 1e-3, ())
    return Candidate(Planned(LoRA(), METHODS[method], None, 1e-3), trained, None, {}, f"{method} {seed}")


def test_adapters_that_are_asked_together_answer_as_each_alone(tiny_model, evaluator):
    rows, task = evaluator.rows.few_shot_set.evaluation, evaluator.rows.few_shot_set.task
    candidates = [candidate(tiny_model, method, seed) for seed, method in enumerate(("sft", "ia2", "sft"))]
    together = evaluator.of_adapters(candidates, task, rows, "evaluating {}")
    for (evaluation, _), of_candidate in zip(together, candidates, strict=True):
        alone = evaluate(
            tiny_model,
            rows,
            task,
            adapter=of_candidate.trained.adapter,
            settings=EvaluationSettings(label_scoring=evaluator.label_scoring(of_candidate, task)),
        )
        assert evaluation.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
    first, second, _ = (answered.evaluation.probabilities for answered in together)
    assert first != pytest.approx(second, abs=1e-5)


def test_contexts_are_those_that_the_study_asks_for(tiny_model):
    shared = evaluator_of(tiny_model).contexts(3)
    assert shared == [evaluator_of(tiny_model).rows.few_shot_set.demonstrations()] * 3
    reshuffled = evaluator_of(tiny_model, demonstrations="reshuffled").contexts(3)
    assert all(set(context) == set(shared[0]) for context in reshuffled)
    assert len(set(reshuffled)) > 1
    assert {len(context) for context in evaluator_of(tiny_model, demonstrations="resampled").contexts(3)} == {3}


def test_the_model_is_asked_with_and_without_demonstrations(tiny_model, evaluator):
    rows, task = evaluator.rows.few_shot_set.evaluation, evaluator.rows.few_shot_set.task
    alone = evaluator.of_model(task, rows, "alone")
    shown = evaluator.of_model(task, rows, "in context", evaluator.contexts(len(rows)))
    expected = evaluate(
        tiny_model,
        rows,
        task,
        demonstrations=evaluator.rows.few_shot_set.demonstrations(),
        settings=EvaluationSettings(label_scoring="whole"),
    )
    assert shown.evaluation.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert alone.evaluation.probabilities != pytest.approx(shown.evaluation.probabilities, abs=1e-3)


def counted(monkeypatch, name):
    """How often a function of the module is called from here on."""
    calls = []
    plain = getattr(unit_evaluator, name)
    monkeypatch.setattr(unit_evaluator, name, lambda *given, **more: calls.append(name) or plain(*given, **more))
    return calls


def test_what_is_the_same_for_several_sets_is_asked_once(tiny_model, monkeypatch):
    calls, work = counted(monkeypatch, "evaluate"), SharedWork()
    first, second = (evaluator_of(tiny_model, work, seed) for seed in (0, 1))
    rows, task = first.rows.few_shot_set.evaluation, first.rows.few_shot_set.task
    answers = [evaluator.of_model(task, rows, "alone") for evaluator in (first, second)]
    assert (len(calls), answers[0]) == (1, answers[1])
    # demonstrations are each set's own
    shown = [
        evaluator.of_model(task, rows, "in context", evaluator.contexts(len(rows))) for evaluator in (first, second)
    ]
    assert len(calls) == 3
    assert shown[0].evaluation != shown[1].evaluation
    # and so is another way to ask
    other = evaluator_of(tiny_model, work, label_scoring="token")
    assert other.of_model(task, rows, "alone").evaluation.label_scoring == "token"


def test_a_folder_keeps_the_answers_of_adapters_too(tiny_model, tmp_path, monkeypatch):
    calls = counted(monkeypatch, "evaluate_all")
    candidates = [candidate(tiny_model, method, seed) for seed, method in enumerate(("sft", "ia2"))]
    for _ in range(2):
        evaluator = evaluator_of(tiny_model, SharedWork(tmp_path))
        rows, task = evaluator.rows.few_shot_set.evaluation, evaluator.rows.few_shot_set.task
        answers = evaluator.of_adapters(candidates, task, rows, "evaluating {}")
    assert len(calls) == 1
    unkept = evaluator_of(tiny_model).of_adapters(candidates, task, rows, "evaluating {}")
    assert [answered.evaluation for answered in answers] == [answered.evaluation for answered in unkept]
    # one that is new is asked alone
    third = candidate(tiny_model, "sft", 3)
    evaluator.of_adapters([*candidates, third], task, rows, "evaluating {}")
    assert len(calls) == 3
    monkeypatch.setattr(unit_evaluator, "evaluate_all", lambda *_a: pytest.fail("an adapter was asked again"))
    evaluator.of_adapters([third, *candidates], task, rows, "evaluating {}")
