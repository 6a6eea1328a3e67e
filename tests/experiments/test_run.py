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

from ia2.experiments import loading
from ia2.experiments import run as module
from ia2.experiments.plan import units
from ia2.experiments.plan_file import load_experiment_of
from ia2.experiments.run import Ledger, run
from ia2.experiments.store import Store
from ia2.progress import Silent
from ia2.records import load_records


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
        assert record.metrics.n == 6
        assert record.metrics.asim is not None
        assert (tmp_path / "out" / "records" / record.options.unit / record.predictions).resolve().is_file()
    adapters = [record.adapter for record in records if record.adapter is not None]
    assert len(adapters) == 2 * 6
    assert all((tmp_path / "out" / adapter.path / "adapter_config.json").is_file() for adapter in adapters)
    assert {record.seed for record in records} == {0, 1}
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
    monkeypatch.setattr(loading, "load_model", lambda name, dtype, **_others: loaded.append(dtype) or load(name))
    told = Silent()
    said: list[str] = []
    told.say = said.append
    more = study(methods=["zero-shot"], sets=2, dtype=asked)
    assert run(more, opened(tmp_path / "out", more), progress=told).done == 1
    assert loaded == [used]
    assert ("The study's records were computed in bfloat16, so the rest is too." in said) == (asked is None)
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


def test_seeds_that_are_apart_are_in_units_and_records_and_a_start_changes_no_prompt(tmp_path, load):
    apart = study(methods=["zero-shot", "icl", "sft"], sets=1, seeds={"rows": 1, "start": 2}, learning_rates=[1e-2])
    run(apart, opened(tmp_path / "out", apart), load=load)
    records = load_records(tmp_path / "out")
    assert {record.options.unit for record in records} == {
        f"tiny-reviews-n4-set0-start{start}-order0" for start in (0, 1)
    }
    of_method = {(record.method, record.seeds): record.metrics for record in records}
    assert len(of_method) == len(records) == 6
    for method in ("zero-shot", "icl"):
        first, second = of_method[method, (0, 0, 0)], of_method[method, (0, 1, 0)]
        assert (first.nll, first.ece) == (second.nll, second.ece)
    assert of_method["sft", (0, 0, 0)].nll != of_method["sft", (0, 1, 0)].nll
    # what is one seed's in a study of sets is the same
    usual = study(methods=["zero-shot", "icl", "sft"], sets=1, learning_rates=[1e-2])
    run(usual, opened(tmp_path / "usual", usual), load=load)
    for record in load_records(tmp_path / "usual"):
        assert record.metrics == of_method[record.method, (0, 0, 0)]
        assert record.options.start_seed is None
