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


def test_seeds_of_starting_values_and_orders_act_alone(tiny_model, tmp_path):
    apart = study(methods=["ia2"], learning_rates=[1e-3], sets=1, seeds={"rows": 1, "start": 2, "order": 2})

    def trained(unit):
        rows = unit_rows(apart, unit, tiny_model)
        training = UnitTraining(apart, unit, tiny_model, rows, tmp_path / "cache", SILENT, SharedWork())
        ((candidate,),) = training.by_kind(planned(apart, unit, ()))
        return candidate

    first, reordered, restarted, both = map(trained, units(apart))
    assert len({candidate.key for candidate in (first, reordered, restarted, both)}) == 4
    usual = study(methods=["ia2"], learning_rates=[1e-3], sets=1)
    (unit,) = units(usual)
    rows = unit_rows(usual, unit, tiny_model)
    training = UnitTraining(usual, unit, tiny_model, rows, tmp_path / "cache", SILENT, SharedWork())
    ((one_seed,),) = training.by_kind(planned(usual, unit, ()))
    # all seeds are 0, as that of the set which decides everything where none is apart
    assert weights_of(one_seed) == weights_of(first)
    # B starts at 0, so that A, which hardly moves in two epochs, tells starting values apart
    assert factors_a(first) != factors_a(restarted)
    assert factors_a(reordered) != factors_a(both)
    assert distance(first, reordered) < distance(first, restarted) / 10
    assert weights_of(first) != weights_of(reordered)


def weights_of(candidate):
    """Every weight of an adapter, by name."""
    return {name: tensor.tolist() for name, tensor in candidate.trained.adapter.weights.items()}


def factors_a(candidate):
    return {name: values for name, values in weights_of(candidate).items() if "lora_A" in name}


def distance(first, second):
    """The largest difference of two adapters' factors A."""
    pairs = zip(first.trained.adapter.weights.items(), second.trained.adapter.weights.values(), strict=True)
    return max(float((ours - theirs).abs().max()) for (name, ours), theirs in pairs if "lora_A" in name)
