import multiprocessing
import os
import socket
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
import torch
import yaml
from small_study import content, opened, study

from ia2.cli.main import main
from ia2.errors import InputError
from ia2.experiments.cluster import packed, run_on_cluster, unpack
from ia2.experiments.run import run
from ia2.experiments.schema import Experiment
from ia2.records import load_records


class Told:
    """Keeps what a run says."""

    def __init__(self):
        self.sentences = []

    def phase(self, name, total):
        raise AssertionError("a cluster's run has no bars")

    def say(self, sentence):
        self.sentences.append(sentence)


def wait_until(true, seconds=120):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.05)


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A Ray cluster of one machine; a test may add more. All are processes here, of one CPU each."""
    monkeypatch.setenv("IA2_CACHE_DIR", str(tmp_path / "cache"))
    # what tasks import
    monkeypatch.setenv("PYTHONPATH", ":".join(str(Path(entry).absolute()) for entry in sys.path if entry))
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.fixture
def one_thread():
    """As many threads as a task of one CPU has, since their number decides in which order floats are added."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_of_a_cluster_that_loses_a_machine_nothing_is_lost_and_nothing_comes_twice(tmp_path, cluster, one_thread):
    experiment = study(sets=6, methods=["icl", "sft", "ia2-sft"], learning_rates=[1e-2])
    out, starts, hanging = tmp_path / "out", tmp_path / "starts", tmp_path / "hanging"
    starts.mkdir()
    doomed = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    name_of_doomed = doomed.node_id

    def load(_name):
        import uuid

        import ray
        from conftest import tiny_language_model

        node = ray.get_runtime_context().get_node_id()
        again = any(starts.glob(f"{node}-*"))
        (starts / f"{node}-{uuid.uuid4().hex}").touch()
        if again and node == name_of_doomed:
            hanging.touch()
            time.sleep(600)
        elif again:
            wait_until(hanging.exists)
        return tiny_language_model()

    def kill():
        # both machines have done a unit, and the doomed one is at its second
        wait_until(lambda: hanging.exists() and len(list((out / "records").glob("tiny-*"))) >= 2)
        cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    told = Told()
    outcome = run_on_cluster(experiment, opened(out, experiment), cluster.address, load=load, progress=told)
    killer.join()
    assert (outcome.done, outcome.before, outcome.elsewhere, outcome.failed) == (6, 0, 0, ())
    assert sum(path.name.startswith(name_of_doomed) for path in starts.iterdir()) == 2
    assert len(list(starts.iterdir())) == 6 + 1

    assert "0 of 6 units done, 2 running" in told.sentences
    assert any(said.startswith("5 of 6 units done, 1 running, ") and said.endswith("left") for said in told.sentences)

    from conftest import tiny_language_model

    alone = tmp_path / "alone"
    assert run(experiment, opened(alone, experiment), load=lambda _name: tiny_language_model()).done == 6
    assert content(out) == content(alone)

    # a second run has nothing left to compute
    outcome = run_on_cluster(experiment, opened(out, experiment), cluster.address, load=load)
    assert (outcome.done, outcome.before) == (0, 6)
    assert len(list(starts.iterdir())) == 6 + 1


def drive(out, experiment, address, load):
    """Run a study on a cluster, in a process that may be killed."""
    from ray import cloudpickle

    experiment = Experiment.model_validate(experiment)
    run_on_cluster(experiment, opened(out, experiment), address, load=cloudpickle.loads(load))


@pytest.mark.slow
def test_a_driver_that_is_killed_as_a_machine_hangs_loses_nothing_and_computes_nothing_twice(
    tmp_path, cluster, one_thread
):
    from ray import cloudpickle

    experiment = study(sets=4, methods=["icl", "sft"], learning_rates=[1e-2])
    out, starts, released = tmp_path / "out", tmp_path / "starts", tmp_path / "released"
    starts.mkdir()
    slow = cluster.add_node(num_cpus=1).node_id
    cluster.wait_for_nodes()

    def load(_name):
        import uuid

        import ray
        from conftest import tiny_language_model

        node = ray.get_runtime_context().get_node_id()
        (starts / f"{node}-{uuid.uuid4().hex}").touch()
        if node == slow and not released.exists():
            time.sleep(600)
        return tiny_language_model()

    arguments = (out, experiment.model_dump(mode="json"), cluster.address, cloudpickle.dumps(load))
    driver = multiprocessing.get_context("spawn").Process(target=drive, args=arguments)
    driver.start()
    # the machine that hangs keeps one unit for ever, and the other computes all others
    wait_until(lambda: len(list((out / "records").glob("tiny-*"))) == 3)
    assert driver.is_alive()
    driver.kill()
    driver.join()
    assert len(list(starts.iterdir())) == 4
    released.touch()
    outcome = run_on_cluster(experiment, opened(out, experiment), cluster.address, load=load)
    assert (outcome.done, outcome.before, outcome.elsewhere, outcome.failed) == (1, 3, 0, ())
    assert len(list(starts.iterdir())) == 5

    from conftest import tiny_language_model

    alone = tmp_path / "alone"
    assert run(experiment, opened(alone, experiment), load=lambda _name: tiny_language_model()).done == 4
    assert content(out) == content(alone)


@pytest.mark.slow
def test_a_cluster_whose_head_is_killed_and_started_again_loses_nothing(tmp_path, cluster, one_thread):
    from conftest import tiny_language_model
    from ray.cluster_utils import Cluster

    model, out, alone = tiny_language_model(), tmp_path / "out", tmp_path / "alone"
    model.network.save_pretrained(tmp_path / "tiny")
    model.tokenizer.save_pretrained(tmp_path / "tiny")
    experiment = study(models=[str(tmp_path / "tiny")], sets=3, methods=["icl", "sft"], learning_rates=[1e-2])
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(experiment.model_dump(mode="json", exclude_unset=True)))

    def started(address):
        command = [sys.executable, "-m", "ia2", "run", str(file), "--out", str(out), "--cluster", address]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ)

    driver = started(cluster.address)
    wait_until(lambda: list((out / "records").glob("*")))
    cluster.shutdown()
    said, _ = driver.communicate(timeout=120)
    assert driver.returncode == 1
    assert "is gone" in said
    assert "Finished work is kept; start the cluster again, and run the same command to continue." in said
    assert not (out / "failures").exists(), "no unit has failed"
    before = len(list((out / "records").iterdir()))

    again = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        said, _ = (driver := started(again.address)).communicate(timeout=240)
    finally:
        again.shutdown()
    assert driver.returncode == 0, said
    assert f"{3 - before} units computed, {before} already done." in said
    assert run(experiment, opened(alone, experiment)).done == 3
    assert content(out) == content(alone)


@pytest.mark.slow
def test_what_fails_on_a_cluster_is_written_down_and_the_rest_goes_on(tmp_path, cluster):
    experiment = study(models=["broken", "tiny"], sets=1, methods=["icl"])

    def load(name):
        from conftest import tiny_language_model

        if name == "broken":
            raise MemoryError("too little")
        return tiny_language_model()

    store, told = opened(tmp_path / "out", experiment), Told()
    outcome = run_on_cluster(experiment, store, cluster.address, load=load, progress=told)
    assert (outcome.done, outcome.failed) == (1, ("broken-reviews-n4-set0",))
    assert list(store.failures()) == ["broken-reviews-n4-set0"]
    assert store.failures()["broken-reviews-n4-set0"].endswith("\nMemoryError: too little")
    assert "broken-reviews-n4-set0 failed: MemoryError: too little" in told.sentences
    assert {record.options.unit for record in load_records(tmp_path / "out")} == {"tiny-reviews-n4-set0"}


def test_an_archive_holds_a_folder(tmp_path):
    for name, text in {"records/a/one.json": b"{}", "adapters/a/x/weights": bytes(range(256)) * 9, "top": b""}.items():
        path = tmp_path / "made" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text)
    unpack(packed(tmp_path / "made"), tmp_path / "found")
    made, found = (
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "made", tmp_path / "found")
    )
    assert found == made


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    study_file = Path(__file__).parents[2] / "experiments" / "quick.yaml"
    assert main(["run", str(study_file), "--out", str(tmp_path / "out"), "--cluster", "auto"]) == 2
    assert "--cluster auto: this needs Ray. Install it: pip install 'ia2[cluster]'." in capsys.readouterr().err


@pytest.mark.parametrize("address", ["somewhere", "127.0.0.1:", "127.0.0.1:port"])
def test_what_is_no_address_is_refused(tmp_path, monkeypatch, address):
    monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))
    with pytest.raises(InputError, match=f"--cluster {address}: use HOST:PORT"):
        run_on_cluster(study(), opened(tmp_path / "out", study()), address)


def test_an_address_where_nothing_answers_is_refused_before_ray_waits_for_it(tmp_path, monkeypatch):
    # a module that can't join anything
    monkeypatch.setitem(sys.modules, "ray", types.ModuleType("ray"))
    with socket.socket() as taken:
        # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InputError, match=f"--cluster {address}: nothing answers there .*ray start --head"):
            run_on_cluster(study(), opened(tmp_path / "out", study()), address)
