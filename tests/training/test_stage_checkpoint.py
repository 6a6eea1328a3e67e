import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from recorded_progress import RecordedProgress

from ia2.adapters.lora import LoRA
from ia2.adapters.prompt import PromptTuning
from ia2.errors import InputError
from ia2.progress import SILENT
from ia2.prompting.fewshot import FewShotSet
from ia2.training import stage_checkpoint
from ia2.training.checkpoints import Checkpoints
from ia2.training.early_stopping import StoppingState, Training
from ia2.training.loop import RunningStage
from ia2.training.methods import IA2_THEN_SFT, SFT
from ia2.training.plans import Plan
from ia2.training.stage_checkpoint import StageCheckpoint, StageState
from ia2.training.teacher import collect_targets
from ia2.training.train import train_all

UNTIL_STALE = Training(epochs=8, patience=2)


@pytest.fixture
def plans(tiny_model, toy_task, tmp_path):
    few = FewShotSet.draw(toy_task, 6, seed=1)
    targets = collect_targets(tiny_model, few, cache_dir=tmp_path / "cache")
    # the first rate diverges, and the others end after different numbers of steps
    return [Plan(few, method, rate, targets) for method in (SFT, IA2_THEN_SFT) for rate in (1e30, 0.3, 1e-3)]


@pytest.fixture
def checkpoints(tiny_model, tmp_path):
    return Checkpoints(tmp_path / "stages", tiny_model.identity)


@pytest.fixture
def at_each_dev_evaluation(monkeypatch):
    monkeypatch.setattr(StageCheckpoint, "due", True)


class Killed(BaseException):
    """What a signal raises in the middle of a step."""


@pytest.fixture
def steps(monkeypatch):
    """Counts the optimiser steps of all banks; raises Killed instead of the step numbered `steps.fatal`."""
    counted = SimpleNamespace(taken=0, fatal=math.inf)
    real = RunningStage.step

    def step(stage):
        if counted.taken == counted.fatal:
            raise Killed
        counted.taken += 1
        real(stage)

    monkeypatch.setattr(RunningStage, "step", step)
    return counted


def went(trained):
    """How training went, as text: the losses of one that diverged are NaN, which equals nothing."""
    return [repr(replace(stage, seconds=0.0)) for stage in trained.stages]


@pytest.mark.usefixtures("at_each_dev_evaluation")
@pytest.mark.parametrize("kind", [LoRA(rank=2, dropout=0.3), PromptTuning(tokens=2)], ids=repr)
def test_a_stage_killed_at_any_step_continues_to_the_same_bytes(tiny_model, plans, checkpoints, steps, kind):
    calm = train_all(tiny_model, plans, adapter=kind, training=UNTIL_STALE)
    lengths = {stage.steps for one in calm for stage in one.stages if one.learning_rate != 1e30}
    assert len(lengths) > 1, "adapters end at different steps"
    whole = steps.taken
    for fatal in range(1, whole, 5):
        steps.taken, steps.fatal = 0, fatal
        with pytest.raises(Killed):
            train_all(tiny_model, plans, adapter=kind, training=UNTIL_STALE, checkpoints=checkpoints)
        steps.fatal = math.inf
        said = RecordedProgress()
        resumed = train_all(
            tiny_model, plans, adapter=kind, training=UNTIL_STALE, checkpoints=checkpoints, progress=said
        )
        # a dev loss is evaluated every two steps at least, so that at most two are taken again
        assert whole <= steps.taken <= whole + 2
        assert any("continued after step" in sentence for sentence in said.sentences) or fatal < 2
        for one, other in zip(resumed, calm, strict=True):
            assert went(one) == went(other)
            for name, tensor in one.adapter.weights.items():
                assert torch.equal(tensor, other.adapter.weights[name])
        assert not list(checkpoints.folder.glob("*unfinished*")), "what is done needs no state"
        checkpoints.clear()


def test_an_adapters_seconds_include_those_before_the_interruption(
    tiny_model, plans, checkpoints, steps, at_each_dev_evaluation
):
    plan = plans[2]
    steps.fatal = 4
    with pytest.raises(Killed):
        train_all(tiny_model, [plan], training=UNTIL_STALE, checkpoints=checkpoints)
    (file,) = checkpoints.folder.iterdir()
    before = stage_checkpoint.STOPPING.validate_json(stage_checkpoint.read_checkpoint(file)[1]["stopping"])
    assert before[0].step == 4
    steps.fatal = math.inf
    (trained,) = train_all(tiny_model, [plan], training=UNTIL_STALE, checkpoints=checkpoints)
    assert trained.stages[0].seconds > before[0].seconds > 0


def test_none_is_written_before_two_minutes(tiny_model, plans, checkpoints, steps):
    steps.fatal = 4
    with pytest.raises(Killed):
        train_all(tiny_model, plans, training=UNTIL_STALE, checkpoints=checkpoints)
    assert not checkpoints.folder.exists()


STATE = StageState(
    [StoppingState(3, (1.0,), ((2, math.inf),), None, 1, 2.0)],
    [0],
    torch.ones(1, 4),
    torch.zeros(1, 4),
    torch.full((1, 4), 2.0),
    {0: torch.arange(4.0)},
    (("a", "b"), ("c",)),
)


def test_what_is_loaded_is_what_was_saved(tmp_path):
    checkpoint = StageCheckpoint(tmp_path / "new" / "stage.safetensors")
    checkpoint.save(STATE, SILENT)
    loaded = checkpoint.load(STATE.sections)
    assert (loaded.stopping, loaded.numbers, loaded.sections) == (STATE.stopping, STATE.numbers, STATE.sections)
    assert loaded.steps == 3
    for name in ("values", "mean", "square"):
        assert torch.equal(getattr(loaded, name), getattr(STATE, name))
    assert loaded.best.keys() == {0}
    assert torch.equal(loaded.best[0], STATE.best[0])
    checkpoint.delete()
    checkpoint.delete()  # as where the stage was too short for one
    assert checkpoint.load(STATE.sections) is None


def test_it_is_written_every_two_minutes_or_less_often_on_a_slow_disk(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(stage_checkpoint.time, "perf_counter", lambda: now[0])
    checkpoint = StageCheckpoint(tmp_path / "stage.safetensors")
    assert not checkpoint.due
    now[0] = 220.0
    assert checkpoint.due
    checkpoint.save(STATE, SILENT)
    now[0] = 339.0
    assert not checkpoint.due
    now[0] = 340.0
    assert checkpoint.due
    real = stage_checkpoint.save_file

    def slow(*arguments, **keywords):
        real(*arguments, **keywords)
        now[0] += 10

    monkeypatch.setattr(stage_checkpoint, "save_file", slow)
    checkpoint.save(STATE, SILENT)
    now[0] += 199
    assert not checkpoint.due
    now[0] += 1
    assert checkpoint.due


def test_one_that_would_fill_the_disk_is_not_written_and_that_is_said_once(tmp_path, monkeypatch):
    bytes_of_state = 4 * 4 * 4
    monkeypatch.setattr(stage_checkpoint, "free_disk", lambda _file: 10 * bytes_of_state)
    checkpoint, said = StageCheckpoint(tmp_path / "stage.safetensors"), RecordedProgress()
    checkpoint.save(STATE, said)
    assert checkpoint.file.exists()
    assert not said.sentences
    checkpoint.delete()
    monkeypatch.setattr(stage_checkpoint, "free_disk", lambda _file: 10 * bytes_of_state - 1)
    checkpoint.save(STATE, said)
    assert not checkpoint.file.exists()
    monkeypatch.setattr(stage_checkpoint.time, "perf_counter", lambda: 1e9)
    assert not checkpoint.due
    assert said.sentences == [
        "The checkpoint of this stage would take 64 bytes of 639 bytes on the disk, so it isn't written: an "
        "interrupted run resumes from the stage's beginning."
    ]


@pytest.mark.parametrize("damage", ["cut", "no values", "no metadata", "other sections"])
def test_a_damaged_one_is_named(tmp_path, damage):
    checkpoint = StageCheckpoint(tmp_path / "stage.safetensors")
    checkpoint.save(STATE, SILENT)
    tensors, metadata = stage_checkpoint.read_checkpoint(checkpoint.file)
    sections = STATE.sections
    if damage == "cut":
        checkpoint.file.write_bytes(checkpoint.file.read_bytes()[:50])
    elif damage == "no values":
        del tensors["values"]
        stage_checkpoint.save_file(tensors, checkpoint.file, metadata=metadata)
    elif damage == "no metadata":
        stage_checkpoint.save_file(tensors, checkpoint.file)
    else:
        sections = (("a",), ("b",), ("c",))
    with pytest.raises(InputError, match=r"stage\.safetensors: this checkpoint can't be read \(.*\)\. Delete it\."):
        checkpoint.load(sections)
