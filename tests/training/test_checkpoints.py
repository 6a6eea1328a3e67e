from dataclasses import replace

import pytest
import torch

from ia2.adapters.lora import LoRA
from ia2.adapters.vera import VeRA
from ia2.errors import InputError
from ia2.prompting.fewshot import FewShotSet
from ia2.training import train as training_module
from ia2.training.checkpoints import Checkpoints
from ia2.training.early_stopping import Training
from ia2.training.methods import IA2_THEN_SFT, SFT
from ia2.training.plans import Plan
from ia2.training.teacher import collect_targets
from ia2.training.train import train_all

SHORT = Training(epochs=2)


@pytest.fixture
def few(toy_task):
    return FewShotSet.draw(toy_task, 6, seed=1)


@pytest.fixture
def plans(tiny_model, few, tmp_path):
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path / "cache")
    # the largest rate diverges
    return [Plan(few, method, rate, targets) for method in (SFT, IA2_THEN_SFT) for rate in (1e30, 1e-2, 1e-3)]


@pytest.fixture
def checkpoints(tiny_model, tmp_path):
    return Checkpoints(tmp_path / "stages", tiny_model.identity)


@pytest.fixture
def no_training(monkeypatch):
    """Training is refused from here on; a test must see that it is what train_all calls."""

    def refused(*_arguments, **_keywords):
        raise AssertionError("a bank was trained")

    return lambda: monkeypatch.setattr("ia2.training.train.train_stage", refused)


def files(checkpoints):
    return sorted(path.name for path in checkpoints.folder.glob("*"))


def went(trained):
    """How training went, as text: the losses of one that diverged are NaN, which equals nothing."""
    return [repr(replace(stage, seconds=0.0)) for stage in trained.stages]


def assert_same(ones, others):
    for one, other in zip(ones, others, strict=True):
        assert went(one) == went(other)
        assert one.adapter.weights.keys() == other.adapter.weights.keys()
        assert all(torch.equal(tensor, other.adapter.weights[name]) for name, tensor in one.adapter.weights.items())


@pytest.mark.parametrize("kind", [LoRA(rank=2), VeRA(rank=4)])
def test_what_was_trained_is_read_and_not_trained_again(tiny_model, plans, checkpoints, no_training, kind):
    calm = train_all(tiny_model, plans, adapter=kind, training=SHORT)
    first = train_all(tiny_model, plans, adapter=kind, training=SHORT, checkpoints=checkpoints)
    assert len(files(checkpoints)) == 2  # of both methods' first stages, and of the second
    no_training()
    again = train_all(tiny_model, plans, adapter=kind, training=SHORT, checkpoints=checkpoints)
    assert_same(first, calm)
    assert_same(again, calm)
    assert [one.diverged for one in again] == [True, False, False] * 2
    with pytest.raises(AssertionError, match="a bank was trained"):
        train_all(tiny_model, plans, adapter=kind, training=SHORT)


def test_only_the_banks_that_are_missing_are_trained(tiny_model, plans, checkpoints, monkeypatch):
    whole = train_all(tiny_model, plans, training=SHORT, checkpoints=checkpoints)
    files_of_banks = files(checkpoints)
    trained = []
    (checkpoints.folder / files_of_banks[0]).unlink()
    real = training_module.train_stage
    monkeypatch.setattr(training_module, "train_stage", lambda *arguments: trained.append(1) or real(*arguments))
    assert_same(train_all(tiny_model, plans, training=SHORT, checkpoints=checkpoints), whole)
    assert trained == [1]
    assert files(checkpoints) == files_of_banks


def test_banks_that_depend_on_something_else_are_not_taken_for_these(tiny_model, toy_task, few, checkpoints):
    plan = Plan(few, SFT, 1e-3)
    other_label = next(label for label in toy_task.labels if label != few.train[0].response)
    changed_row = replace(few.train[0], response=other_label)
    other_rows = replace(few, train=(changed_row, *few.train[1:]))
    ways = [
        {},
        {"plans": [replace(plan, learning_rate=2e-3)]},
        {"plans": [replace(plan, few_shot_set=replace(few, seed=2))]},
        {"plans": [replace(plan, few_shot_set=other_rows)]},
        {"plans": [plan, replace(plan, learning_rate=2e-3)]},  # trained in other company
        {"training": Training(epochs=3)},
        {"adapter": LoRA(rank=4)},
        {"adapter": LoRA(alpha=2)},
        {"checkpoints": Checkpoints(checkpoints.folder, replace(tiny_model.identity, sha256="1" * 64))},
    ]
    for count, way in enumerate(ways, start=1):
        for _ in range(2):
            train_all(tiny_model, **{"plans": [plan], "training": SHORT, "checkpoints": checkpoints} | way)
        assert len(files(checkpoints)) == count, way


def test_a_damaged_one_is_named(tiny_model, few, checkpoints):
    train_all(tiny_model, [Plan(few, SFT, 1e-3)], training=SHORT, checkpoints=checkpoints)
    (file,) = checkpoints.folder.iterdir()
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match=rf"{file.name}: this checkpoint can't be read \(.*\)\. Delete it\."):
        train_all(tiny_model, [Plan(few, SFT, 1e-3)], training=SHORT, checkpoints=checkpoints)


def test_they_are_deleted_when_nothing_needs_them(tiny_model, few, checkpoints):
    checkpoints.clear()  # nothing is there
    train_all(tiny_model, [Plan(few, SFT, 1e-3)], training=SHORT, checkpoints=checkpoints)
    checkpoints.clear()
    assert not checkpoints.folder.exists()
