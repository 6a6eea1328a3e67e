import json
import math
import multiprocessing
import os
import re
import signal
import time
from pathlib import Path

import pytest
from small_study import content, opened, study

from ia2.errors import InputError
from ia2.experiments import run as module
from ia2.experiments.plan import units
from ia2.experiments.run import Ledger, run
from ia2.experiments.store import Store, load_experiment_of, load_records
from ia2.progress import Silent
from ia2.training import loop as descent


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def load(tiny_model):
    return lambda _name: tiny_model


def test_a_study_is_computed_once_and_its_records_say_everything(tmp_path, load):
    experiment = study()
    store = opened(tmp_path / "out", experiment)
    outcome = run(experiment, store, load=load)
    assert (outcome.done, outcome.before, outcome.failed) == (2, 0, ())
    records = load_records(tmp_path / "out")
    assert len(records) == 2 * (2 + 6)
    for record in records:
        assert record["metrics"]["n"] == 6
        assert record["metrics"]["asim"] is not None
        assert (tmp_path / "out" / "records" / record["options"]["unit"] / record["predictions"]).resolve().is_file()
        if record["adapter"] is not None:
            assert (tmp_path / "out" / record["adapter"]["path"] / "adapter_config.json").is_file()
    assert {record["seed"] for record in records} == {0, 1}
    assert load_experiment_of(tmp_path / "out") == experiment
    before = content(tmp_path / "out")
    outcome = run(experiment, opened(tmp_path / "out", experiment), load=lambda _n: pytest.fail("nothing is missing"))
    assert (outcome.done, outcome.before) == (0, 2)
    assert content(tmp_path / "out") == before
    # a set more is computed beside what is there
    more = study(sets=3)
    assert run(more, opened(tmp_path / "out", more), load=load).done == 1
    assert {name: value for name, value in content(tmp_path / "out").items() if name in before} | {
        "plan.json": before["plan.json"]
    } == before


def test_a_folder_of_other_settings_or_of_something_else_is_refused(tmp_path):
    opened(tmp_path / "out", study())
    with pytest.raises(InputError, match=r"records of small with other settings \(rows\)"):
        opened(tmp_path / "out", study(rows=7))
    with pytest.raises(InputError, match=r"with other settings \(--limit\)"):
        opened(tmp_path / "out", study(), limit=3)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").touch()
    with pytest.raises(InputError, match="holds something else"):
        opened(tmp_path / "other", study())
    with pytest.raises(InputError, match="no records here"):
        load_records(tmp_path / "out")
    with pytest.raises(InputError, match="no study here"):
        load_experiment_of(tmp_path / "other")


def test_tasks_that_are_measured_may_not_change_for_units_that_are_planned(tmp_path):
    opened(tmp_path / "out", study())
    with pytest.raises(
        InputError, match="tiny-reviews-n4-set0 has evaluate reviews, and now reviews, sst2 is asked for"
    ):
        opened(tmp_path / "out", study(tasks=[{"train": "reviews", "evaluate": ["reviews", "sst2"]}]))
    # another task, and the same one said otherwise, change nothing
    same = {"train": "reviews", "evaluate": ["reviews"]}
    opened(tmp_path / "out", study(tasks=[same, {"train": "sst2", "evaluate": ["sst2", "finsen"]}]))
    opened(tmp_path / "out", study(tasks=[same, {"train": "sst2", "evaluate": ["finsen", "sst2"]}]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": [{"train": "reviews", "evaluate": ["sst2"]}]}, "a-b-reviews-n4-set0 has evaluate reviews,"),
        ({"models": ["a-b"]}, "a-b-reviews-n4-set0 has model a/b, and now a-b is"),
        ({"adapters": ["ia3"]}, "a-b-reviews-n4-set0 has adapters lora, and now ia3 is"),
    ],
)
def test_what_is_done_is_not_taken_for_something_else_whatever_was_planned_since(tmp_path, load, changes, message):
    first = {"models": ["a/b"], "methods": ["zero-shot"], "sets": 1}
    assert run(study(**first), opened(tmp_path / "out", study(**first)), load=load).done == 1
    opened(tmp_path / "out", study(**first, n=[8]))
    with pytest.raises(InputError, match=message):
        opened(tmp_path / "out", study(**first | changes))
    assert run(study(**first), opened(tmp_path / "out", study(**first)), load=load).before == 1


def test_units_may_be_added_whatever_adapters_others_have(tmp_path):
    own = {"train": "reviews", "adapters": ["ia3"]}
    opened(tmp_path / "out", study(tasks=[own]))
    opened(tmp_path / "out", study(tasks=[own], n=[4, 8], models=["tiny", "other"], sets=3))
    opened(tmp_path / "out", study(tasks=[own, {"train": "sst2", "adapters": ["prefix"]}], adapters=["full"]))
    with pytest.raises(InputError, match="tiny-sst2-n4-set0 has adapters prefix, and now full is asked for"):
        opened(tmp_path / "out", study(tasks=[own, {"train": "sst2"}], adapters=["full"]))


@pytest.mark.parametrize(
    ("plan", "what"),
    [
        ('{"limit": nu', "Expecting value: line 1 column 11"),
        ('{"limit": null}', "experiment is missing"),
        ("[]", "experiment is missing"),
        ('{"limit": null, "experiment": {"name": "a"}}', r"models: field required \(given: dict\); tasks: field"),
    ],
)
def test_a_damaged_plan_is_named(tmp_path, plan, what):
    opened(tmp_path, study())
    (tmp_path / "plan.json").write_text(plan)
    for read in (load_experiment_of, lambda folder: opened(folder, study())):
        with pytest.raises(InputError, match=f"plan.json: this plan can't be read .*{what}") as error:
            read(tmp_path)
        assert "\n" not in str(error.value)
        assert str(error.value).endswith("Restore this file, or name another folder.")


def test_a_damaged_note_of_a_failure_is_named_and_one_being_written_is_left_out(tmp_path):
    store = Store(tmp_path)
    for unit in units(study()):
        store.note_failure(unit, "MemoryError: too little")
    (tmp_path / "failures" / ".partial-0a1b2c3d-tiny-reviews-n4-set2.json").write_text('{"un')
    (tmp_path / "failures" / "tiny-reviews-n4-set1.json").write_text('{"un')
    found = store.failures()
    assert list(found) == ["tiny-reviews-n4-set0", "tiny-reviews-n4-set1"]
    assert found["tiny-reviews-n4-set0"] == "MemoryError: too little"
    assert found["tiny-reviews-n4-set1"].startswith(
        f"{tmp_path}/failures/tiny-reviews-n4-set1.json: this can't be read"
    )


def test_what_is_no_record_of_a_study_is_named(tmp_path):
    (tmp_path / "records" / "unit").mkdir(parents=True)
    (tmp_path / "records" / "unit" / "one.json").write_text('{"method": "sft", "model": {}}')
    with pytest.raises(InputError, match=r"unit/one\.json: this record can't be read \(task is missing\)"):
        load_records(tmp_path)


@pytest.mark.parametrize(("asked", "used"), [(None, "bfloat16"), ("float32", "float32")])
def test_what_is_missing_is_computed_in_the_dtype_of_what_is_there(tmp_path, load, monkeypatch, asked, used):
    first = study(methods=["zero-shot"], sets=1, dtype=asked)
    store = opened(tmp_path / "out", first)
    assert store.dtype() is None
    run(first, store, load=load)
    (file,) = (tmp_path / "out" / "records").glob("*/*.json")
    record = json.loads(file.read_text())
    file.write_text(json.dumps(record | {"model": record["model"] | {"dtype": used}}))
    # this machine's own would be float32
    loaded = []
    monkeypatch.setattr(module, "load_model", lambda name, dtype, device, progress: loaded.append(dtype) or load(name))
    told = Silent()
    said: list[str] = []
    told.say = said.append
    more = study(methods=["zero-shot"], sets=2, dtype=asked)
    assert run(more, opened(tmp_path / "out", more), progress=told).done == 1
    assert loaded == [used]
    assert ("The study's records are of bfloat16, and so is what is computed now." in said) == (asked is None)
    said.clear()
    run(more, Store(tmp_path / "out"), progress=told)
    assert said == []


def test_what_fails_is_written_down_and_the_rest_goes_on(tmp_path, load, monkeypatch):
    experiment = study(methods=["icl"])
    compute = module.compute

    def failing(experiment, unit, *rest, **more):
        if unit.seed == 0:
            raise MemoryError("too little")
        compute(experiment, unit, *rest, **more)

    monkeypatch.setattr(module, "compute", failing)
    store = opened(tmp_path / "out", experiment)
    outcome = run(experiment, store, load=load)
    assert (outcome.done, outcome.failed) == (1, ("tiny-reviews-n4-set0",))
    assert "MemoryError: too little" in store.failures()["tiny-reviews-n4-set0"]
    assert not (tmp_path / "out" / "unfinished" / "tiny-reviews-n4-set0").exists()
    monkeypatch.undo()
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))
    assert run(experiment, store, load=load).done == 1
    assert store.failures() == {}


def test_an_adapter_that_diverges_is_recorded_without_metrics_and_takes_no_sound_one_with_it(tmp_path, load):
    experiment = study(methods=["sft", "ia2-sft"], sets=1, learning_rates=[1e30, 1e-3])
    store, told = opened(tmp_path / "out", experiment), Silent()
    said: list[str] = []
    told.say = said.append
    assert run(experiment, store, load=load, progress=told).failed == ()
    assert "lora_sft_lr1e+30, lora_ia2-sft_lr1e+30: training diverged, recorded without metrics." in said
    records = load_records(tmp_path / "out")
    assert len(records) == 4
    for record in records:
        diverged = record["lr"] == 1e30
        assert (record["metrics"]["accuracy"] is None) == (record["options"]["dev_loss"] is None) == diverged
        assert (record["adapter"]["path"] is None) == (record["stages"][-1]["stopped_by"] == "diverged") == diverged
        rows = (tmp_path / "out" / "records" / record["options"]["unit"] / record["predictions"]).read_text()
        assert bool(rows) == (not diverged)
    assert len(list((tmp_path / "out" / "adapters").glob("*/*/adapter_config.json"))) == 2
    # which is done with, and isn't tried for ever
    again = run(experiment, opened(tmp_path / "out", experiment), load=lambda _n: pytest.fail("nothing is missing"))
    assert (again.done, again.before) == (0, 1)


def test_a_unit_of_which_every_adapter_diverges_is_done_as_well(tmp_path, load):
    experiment = study(methods=["zero-shot", "sft"], sets=1, learning_rates=[1e30])
    assert run(experiment, opened(tmp_path / "out", experiment), load=load).failed == ()
    assert [one["metrics"]["accuracy"] is None for one in load_records(tmp_path / "out")] == [True, False]


def test_what_a_run_left_that_was_killed_after_its_unit_was_taken_in_is_cleared_away(tmp_path, load):
    experiment = study(methods=["zero-shot"])
    store = opened(tmp_path / "out", experiment)
    run(experiment, store, load=load)
    before = content(tmp_path / "out")
    mine, anothers = (store.unfinished(unit) / "adapters" for unit in units(experiment))
    mine.mkdir(parents=True)
    (mine / "weights").touch()
    with store.claimed(units(experiment)[1]):
        anothers.mkdir(parents=True)
        (anothers / "weights").touch()
        run(experiment, Store(tmp_path / "out"), load=load)
        assert not mine.parent.exists()
        assert (anothers / "weights").exists()
    run(experiment, store, load=load)
    assert content(tmp_path / "out") == before


def test_a_folder_that_a_killed_run_left_with_half_a_plan_is_begun_anew(tmp_path):
    (tmp_path / ".partial-0a1b2c3d-plan.json").write_text('{"limit"')
    opened(tmp_path, study())
    assert load_experiment_of(tmp_path) == study()


def test_what_a_killed_run_left_of_a_unit_is_its_own_alone(tmp_path):
    # the name of one unit is the end of the other's
    experiment = study(models=["tiny", "org/tiny"], sets=1)
    store = opened(tmp_path / "out", experiment)
    mine, anothers = (tmp_path / "out" / "records" / f".partial-0a1b2c3d-{unit.id}" for unit in units(experiment))
    mine.mkdir(parents=True)
    anothers.mkdir()
    (tmp_path / "out" / "units").mkdir()
    file = tmp_path / "out" / "units" / ".partial-0a1b2c3d-tiny-reviews-n4-set0.json"
    file.touch()
    with store.claimed(units(experiment)[0]):
        assert not mine.exists()
        assert not file.exists()
        assert anothers.exists()


def test_a_unit_that_another_process_computes_is_left_to_it(tmp_path, load):
    experiment = study(methods=["zero-shot"])
    store = opened(tmp_path / "out", experiment)
    told = Silent()
    said: list[str] = []
    told.say = said.append
    with store.claimed(units(experiment)[0]) as mine:
        assert mine
        outcome = run(experiment, Store(tmp_path / "out"), load=load, progress=told)
    assert (outcome.done, outcome.elsewhere) == (1, 1)
    # the other's is still to come, and is counted as soon as it is there
    assert re.match("1 of 2 units done, .* left", said[-1])
    ledger = Ledger(experiment, Store(tmp_path / "out"), told)
    (tmp_path / "out" / "records" / units(experiment)[0].id).mkdir()
    ledger.tell()
    assert said[-1] == "1 of 1 units done"


def _go(folder: Path, cache: Path) -> None:
    os.environ["IA2_CACHE_DIR"] = str(cache)
    from conftest import tiny_language_model

    experiment = study()
    run(experiment, opened(folder, experiment), load=lambda _name: tiny_language_model())


def test_what_is_free_at_the_moment_decides_nothing(tmp_path, load, monkeypatch):
    # banks of other sizes sum in another order, and a run that is repeated would have other records
    monkeypatch.setattr(descent, "free_bytes", lambda _device: pytest.fail("a study asked what is free"))
    experiment = study(sets=1)
    assert run(experiment, opened(tmp_path / "out", experiment), load=load).failed == ()


def _files(folder: Path) -> int:
    """How many there are now; folders come and go meanwhile, which `os.walk` bears."""
    return sum(len(files) for _, _, files in os.walk(folder))


def test_a_run_that_was_killed_again_and_again_ends_with_the_same_records(tmp_path):
    start = multiprocessing.get_context("spawn")
    whole = start.Process(target=_go, args=(tmp_path / "whole", tmp_path / "cache-whole"))
    whole.start()
    whole.join()
    assert whole.exitcode == 0
    written = _files(tmp_path / "whole")
    killed = 0
    # killed when so much of all has been written: as soon as anything is, within both units, and never
    for share in (0.0, 0.1, 0.3, 0.55, 0.7, 0.85, math.inf):
        process = start.Process(target=_go, args=(tmp_path / "torn", tmp_path / "cache-torn"))
        process.start()
        while process.is_alive() and _files(tmp_path / "torn") <= share * written:
            time.sleep(0.002)
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            killed += 1
        process.join()
    assert killed >= 2
    assert process.exitcode == 0
    assert content(tmp_path / "torn") == content(tmp_path / "whole")
