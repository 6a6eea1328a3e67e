import sys
from typing import Any

import pytest
from small_study import opened, study

from ia2.errors import InputError
from ia2.experiments import run as running
from ia2.experiments.trackers import LIBRARIES, TrackedRun, Tracking
from ia2.records import Record

VALUE: dict[str, Any] = {
    "method": "ia2-sft",
    "model": {"id": "tiny", "dtype": "float32"},
    "task": {"train": "reviews", "eval": "sst2"},
    "n": 4,
    "seed": 1,
    "lr": 0.001,
    "adapter": {"kind": "lora", "rank": 8},
    "metrics": {"n": 6, "accuracy": 0.5, "ece": None, "accuracy_interval": [0.0, 1.0]},
    "stages": [
        {"steps": 2, "train_losses": [4.0, 3.0], "dev_losses": [[1, 3.5], [2, 2.5]]},
        {"steps": 1, "train_losses": [0.7], "dev_losses": [[1, 0.6]]},
    ],
    "options": {"beta": None, "label_scoring": "token", "training": {"epochs": 2}},
}
RECORD = Record.model_validate(VALUE)
BASELINE = Record.model_validate(VALUE | {"method": "icl", "lr": None, "adapter": None, "stages": []})


def test_a_record_becomes_a_run_whose_steps_go_on_from_stage_to_stage():
    run = TrackedRun.of("unit/lora_ia2-sft_on_sst2", RECORD)
    assert run.group == "unit"
    assert run.losses == {
        0: {"stage 1/train loss": 4.0},
        1: {"stage 1/train loss": 3.0, "stage 1/dev loss": 3.5},
        2: {"stage 1/dev loss": 2.5, "stage 2/train loss": 0.7},
        3: {"stage 2/dev loss": 0.6},
    }
    assert run.last == 3
    assert run.measured == {"measured/n": 6.0, "measured/accuracy": 0.5}
    assert run.settings["rank"] == 8
    assert run.settings["label_scoring"] == "token"
    assert "beta" not in run.settings
    baseline = TrackedRun.of("icl", BASELINE)
    assert (baseline.group, baseline.losses, baseline.last) == (None, {}, 0)


def test_a_loss_that_was_no_number_is_not_shown():
    stage = {"steps": 2, "train_losses": [4.0, None], "dev_losses": [[1, None], [2, 2.5]]}
    run = TrackedRun.of("sft", Record.model_validate(VALUE | {"stages": [stage]}))
    assert run.losses == {0: {"stage 1/train loss": 4.0}, 2: {"stage 1/dev loss": 2.5}}


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_tracker_that_is_not_installed_is_named_with_the_way_to_it(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, LIBRARIES[name][0], None)
    with pytest.raises(InputError, match=rf"--track {name}: this tracker isn't installed.*ia2\[{name}\]"):
        Tracking.of(name, "project", tmp_path)


class Watching:
    """Remembers the runs it was shown."""

    def __init__(self):
        self.seen = []

    def show(self, run):
        self.seen.append(run.name)


class Refusing:
    """A tracker that nobody is logged in to."""

    def show(self, run):
        sys.stdout.write("chatter")
        raise RuntimeError("not logged in")


def test_a_study_shows_each_record_once(tmp_path, tiny_model, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))
    seen = []
    for sets in (1, 2, 2):
        experiment = study(methods=["zero-shot", "ia2"], learning_rates=[1e-3], sets=sets)
        watching = Watching()
        store = opened(tmp_path / "out", experiment)
        running.run(experiment, store, load=lambda _name: tiny_model, tracking=Tracking("some", watching))
        seen.append(watching.seen)
    both = ["lora_ia2_lr0.001_on_reviews", "zero-shot_on_reviews"]
    assert seen == [[f"tiny-reviews-n4-set{number}/{name}" for name in both] for number in (0, 1)] + [[]]


def test_a_tracker_that_refuses_stops_the_run_and_loses_nothing(tmp_path, tiny_model, monkeypatch, capsys):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))
    experiment = study(methods=["zero-shot"])
    store = opened(tmp_path / "out", experiment)
    with pytest.raises(InputError, match="--track some: .*its record is written, but the tracker refused it: not log"):
        running.run(experiment, store, load=lambda _name: tiny_model, tracking=Tracking("some", Refusing()))
    assert capsys.readouterr().out == ""
    assert len(list((tmp_path / "out" / "records").glob("*/*.json"))) == 1
    assert not list((tmp_path / "out" / "failures").glob("*"))
    assert running.run(experiment, store, load=lambda _name: tiny_model).before == 1


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_tensorboard_shows_what_a_record_says(tmp_path):
    tracking = Tracking.of("tensorboard", "study", tmp_path)
    tracking.show("unit/adapter", RECORD)
    tracking.show("unit/icl", BASELINE)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def events(name):
        read = EventAccumulator(str(tmp_path / "tensorboard" / "unit" / name))
        read.Reload()
        return {tag: [(e.step, e.value) for e in read.Scalars(tag)] for tag in read.Tags()["scalars"]}

    adapter, icl = events("adapter"), events("icl")
    assert adapter["stage 1/train loss"] == [(0, 4.0), (1, 3.0)]
    assert adapter["stage 2/dev loss"] == [(3, pytest.approx(0.6))]
    assert adapter["measured/accuracy"] == [(3, 0.5)]
    assert icl == {"measured/accuracy": [(0, 0.5)], "measured/n": [(0, 6.0)]}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_trackio_shows_what_a_record_says(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    tracking = Tracking.of("trackio", "study", tmp_path)
    tracking.show("unit/adapter", RECORD)
    assert capsys.readouterr().out == ""
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    (run,) = trackio.Api().runs("study")
    assert run.name == "unit/adapter"
    assert run.config["label_scoring"] == "token"
    rows = {row["step"]: row for row in SQLiteStorage.get_logs("study", run.name)}
    assert rows[2]["stage 1/dev loss"] == 2.5
    assert rows[3]["measured/accuracy"] == 0.5


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_wandb_keeps_what_a_record_says(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "offline")
    Tracking.of("wandb", "study", tmp_path).show("unit/adapter", RECORD)
    assert capsys.readouterr().out == ""
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    content = file.read_bytes()
    for said in (b"unit/adapter", b"stage 2/dev loss", b"measured/accuracy", b"label_scoring"):
        assert said in content
