import pytest
from small_study import study

from ia2.adapters.adapter import Adapter, fresh_adapter
from ia2.adapters.lora import LoRA
from ia2.evaluation.evaluate import Asking, evaluate
from ia2.experiments.candidates import Candidate
from ia2.experiments.plan import Planned, units
from ia2.experiments.unit_asking import UnitAsking
from ia2.experiments.unit_rows import unit_rows
from ia2.progress import SILENT
from ia2.training.methods import METHODS
from ia2.training.plans import Trained


def asking_of(model, **changes):
    experiment = study(sets=1, **changes)
    return UnitAsking(experiment, model, unit_rows(experiment, units(experiment)[0], model), SILENT)


@pytest.fixture
def asking(tiny_model):
    return asking_of(tiny_model)


def candidate(model, method, seed):
    adapter = fresh_adapter(model.network, LoRA().configuration(model.network), seed)
    weights = {name: value + 0.02 * (seed + 1) for name, value in adapter.weights.items()}
    trained = Trained(Adapter(adapter.configuration, weights), 1e-3, ())
    return Candidate(Planned(LoRA(), METHODS[method], None, 1e-3), trained, None, {})


def test_adapters_that_are_asked_together_answer_as_each_alone(tiny_model, asking):
    rows, task = asking.rows.few_shot_set.evaluation, asking.rows.few_shot_set.task
    candidates = [candidate(tiny_model, method, seed) for seed, method in enumerate(("sft", "ia2", "sft"))]
    together = asking.of_adapters(candidates, task, rows, "asking {}")
    for evaluation, of_candidate in zip(together, candidates, strict=True):
        alone = evaluate(
            tiny_model,
            rows,
            task,
            adapter=of_candidate.trained.adapter,
            asking=Asking(label_scoring=asking.label_scoring(of_candidate, task)),
        )
        assert evaluation.probabilities == pytest.approx(alone.probabilities, abs=1e-5)
    assert together[0].probabilities != pytest.approx(together[1].probabilities, abs=1e-5)


def test_contexts_are_those_that_the_study_asks_for(tiny_model):
    shared = asking_of(tiny_model).contexts(3)
    assert shared == [asking_of(tiny_model).rows.few_shot_set.demonstrations()] * 3
    reshuffled = asking_of(tiny_model, demonstrations="reshuffled").contexts(3)
    assert all(set(context) == set(shared[0]) for context in reshuffled)
    assert len(set(reshuffled)) > 1
    assert {len(context) for context in asking_of(tiny_model, demonstrations="resampled").contexts(3)} == {3}


def test_the_model_is_asked_with_and_without_demonstrations(tiny_model, asking):
    rows, task = asking.rows.few_shot_set.evaluation, asking.rows.few_shot_set.task
    alone = asking.of_model(task, rows, "alone")
    shown = asking.of_model(task, rows, "in context", asking.contexts(len(rows)))
    expected = evaluate(
        tiny_model,
        rows,
        task,
        demonstrations=asking.rows.few_shot_set.demonstrations(),
        asking=Asking(label_scoring="whole"),
    )
    assert shown.probabilities == pytest.approx(expected.probabilities, abs=1e-5)
    assert alone.probabilities != pytest.approx(shown.probabilities, abs=1e-3)
