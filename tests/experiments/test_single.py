import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from conftest import VOCABULARY, tiny_language_model
from small_study import content, study

from benchmarks.shrunken import shrunken_network
from ia2.errors import InputError
from ia2.experiments.plan import units
from ia2.experiments.plan_file import load_experiment_of
from ia2.experiments.schema import Experiment
from ia2.experiments.single import compute_single
from ia2.experiments.store import Store
from ia2.models.row_forms import PADDED, set_row_form
from ia2.progress import Silent


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def load(tiny_model):
    return lambda _name: tiny_model


def single(**changes) -> Experiment:
    return study(**{"sets": 1, "select": "dev", "measure": "chosen"} | changes)


def test_it_is_computed_once_and_its_records_come_in_the_order_of_its_methods(tmp_path, load):
    experiment = single(methods=["icl", "zero-shot", "ia2", {"method": "sft", "label_source": "icl-response"}, "sft"])
    records = compute_single(experiment, tmp_path / "out", load=load)
    named = [(record.method, record.options.label_source) for record in records]
    own = [("sft", "icl-response"), ("sft", "ground-truth")]
    assert named == [("icl", None), ("zero-shot", None), ("ia2", None), *own]
    assert load_experiment_of(tmp_path / "out") == experiment
    before, progress, said = content(tmp_path / "out"), Silent(), []
    progress.say = said.append
    again = compute_single(
        experiment, tmp_path / "out", load=lambda _n: pytest.fail("nothing is missing"), progress=progress
    )
    assert again == records
    assert said == [f"{tmp_path / 'out'}/: already complete, so nothing is computed."]
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize("ending", [SystemExit(129), KeyboardInterrupt(), ValueError("no")])
def test_what_is_stopped_when_its_plan_has_just_been_written_leaves_nothing(tmp_path, load, monkeypatch, ending):
    def stopped(*_args, **_options):
        assert (tmp_path / "out" / "plan.json").exists()
        raise ending

    monkeypatch.setattr("ia2.experiments.single.run", stopped)
    with pytest.raises(type(ending)):
        compute_single(single(methods=["zero-shot"]), tmp_path / "out", load=load)
    assert not (tmp_path / "out").exists()


def test_another_one_is_refused_in_its_folder_before_a_model_is_loaded(tmp_path, load):
    compute_single(single(methods=["zero-shot"]), tmp_path / "out", load=load)
    for changes in ({"n": [8]}, {"label_scoring": "token"}, {"methods": ["icl"]}, {"first_seed": 3}):
        with pytest.raises(InputError, match=rf"with other settings \(.*{next(iter(changes))}.*they can't be changed"):
            compute_single(
                single(**{"methods": ["zero-shot"]} | changes),
                tmp_path / "out",
                load=lambda _name: pytest.fail("a model was loaded"),
            )
    with pytest.raises(pytest.fail.Exception, match="a model was loaded"):
        compute_single(single(methods=["icl"]), tmp_path / "new", load=lambda _name: pytest.fail("a model was loaded"))


@pytest.mark.parametrize("error", [InputError("this can't be"), KeyboardInterrupt()])
def test_what_ends_it_leaves_nothing(tmp_path, load, monkeypatch, error):
    def ends(*_arguments, **_more):
        raise error

    monkeypatch.setattr("ia2.experiments.unit_training.train_all", ends)
    with pytest.raises(type(error)):
        compute_single(single(), tmp_path / "out", load=load)
    assert not (tmp_path / "out").exists()


def test_one_that_another_process_computes_is_left_to_it(tmp_path, load):
    experiment = single(methods=["zero-shot"])
    store = Store(tmp_path / "out")
    store.open(experiment)
    with (
        store.claimed(units(experiment)[0]) as mine,
        pytest.raises(InputError, match="another process is computing this"),
    ):
        assert mine
        compute_single(experiment, tmp_path / "out", load=load)
    assert load_experiment_of(tmp_path / "out") == experiment


def _go(folder: Path, cache: Path) -> None:
    os.environ["IA2_CACHE_DIR"] = str(cache)
    # a process in the background inherits that Ctrl-C is passed over
    signal.signal(signal.SIGINT, signal.default_int_handler)
    compute_single(single(), folder, load=lambda _name: tiny_language_model())


@pytest.mark.parametrize(
    ("reached", "ending"),
    [
        ("torn/unfinished/*/records/*/*.json", signal.SIGKILL),
        ("cache-torn/stages/*/*.safetensors", signal.SIGKILL),
        ("cache-torn/stages/*/*.safetensors", signal.SIGINT),
    ],
)
def test_one_that_was_killed_or_stopped_goes_on_and_ends_the_same(tmp_path, reached, ending):
    start = multiprocessing.get_context("spawn")
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    for folder, ended in ((torn, True), (torn, False), (whole, False)):
        process = start.Process(target=_go, args=(folder, tmp_path / f"cache-{folder.name}"))
        process.start()
        while ended and not list(tmp_path.glob(reached)):
            assert process.is_alive()
            time.sleep(0.002)
        if ended:
            os.kill(process.pid, ending)
        process.join()
        assert process.exitcode == ((1 if ending is signal.SIGINT else -ending) if ended else 0)
    assert content(torn) == content(whole)
    assert list(tmp_path.glob("cache-torn/stages/*/*")) == []


@pytest.mark.parametrize(("asked", "layers"), [({}, [0, 1, 2, 3]), ({"align": "attention"}, [3])])
def test_a_hybrids_records_say_which_mixers_were_aligned(tmp_path, asked, layers):
    # three layers with a state, then one that attends
    model = tiny_language_model(shrunken_network("qwen3_5_text", {"vocab_size": VOCABULARY}))
    set_row_form(model.network, PADDED)
    experiment = single(methods=["sft", "ia2"], training={"epochs": 1}, **asked)
    sft, ia2 = compute_single(experiment, tmp_path / "out", load=lambda _name: model)
    assert sft.options.get("aligned") is None
    assert ia2.options.get("aligned") == {"mixers": asked.get("align", "mixers"), "layers": layers}
