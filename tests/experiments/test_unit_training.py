import pytest
from small_study import study

from ia2.experiments import unit_training
from ia2.experiments.plan import planned, units
from ia2.experiments.shared_work import SharedWork
from ia2.experiments.unit_rows import unit_rows
from ia2.experiments.unit_training import UnitTraining
from ia2.progress import SILENT


def training_of(model, folder, work, **changes):
    """The training of a study's first unit, and what it plans."""
    experiment = study(**{"learning_rates": [1e-3], "sets": 1} | changes)
    unit = units(experiment)[0]
    rows = unit_rows(experiment, unit, model)
    return UnitTraining(experiment, unit, model, rows, folder / "cache", SILENT, work), planned(experiment, unit, ())


def test_adapters_come_by_kind_in_their_order_and_stages_are_let_go_at_the_end(tiny_model, tmp_path):
    training, adapters = training_of(tiny_model, tmp_path, SharedWork(), adapters=["lora", "ia3"])
    kinds = training.by_kind(adapters)
    first = next(kinds)
    assert any((tmp_path / "cache" / "stages").iterdir())
    (second,) = kinds
    assert not any((tmp_path / "cache" / "stages").iterdir())
    assert [candidate.planned for candidate in (*first, *second)] == adapters
    assert [candidate.planned.kind.kind for candidate in second] == ["ia3"] * 3
    assert len({candidate.key for candidate in (*first, *second)}) == 6
    for candidate in first:
        assert candidate.dev_loss == candidate.trained.dev_loss
        assert ("teacher" in candidate.seconds) == (candidate.planned.method.name != "sft")


def test_the_teacher_is_asked_only_for_adapters_that_were_not_trained_before(tiny_model, tmp_path, monkeypatch):
    work = SharedWork(tmp_path / "shared")
    training, adapters = training_of(tiny_model, tmp_path, work)
    (before,) = training.by_kind(adapters)
    monkeypatch.setattr(unit_training, "collect_targets", lambda *_a, **_k: pytest.fail("the teacher was asked"))
    training, adapters = training_of(tiny_model, tmp_path, work)
    (again,) = training.by_kind(adapters)
    assert [candidate.key for candidate in again] == [candidate.key for candidate in before]
    assert [candidate.dev_loss for candidate in again] == [candidate.dev_loss for candidate in before]
    for one, other in zip(before, again, strict=True):
        weights = other.trained.adapter.weights
        assert all((tensor == weights[name]).all() for name, tensor in one.trained.adapter.weights.items())
    training, adapters = training_of(tiny_model, tmp_path, work, methods=["sft", "ia2"], training={"epochs": 1})
    with pytest.raises(pytest.fail.Exception, match="the teacher was asked"):
        list(training.by_kind(adapters))
