"""The same plan on a Ray cluster: each unit is a task, and Ray alone says where it runs and when it runs again.

A task computes its unit in a folder of its own and returns that folder as an archive, which the process that began the
run takes into the study's folder. So machines need not share a file system. They need `ia2`, and whatever the study
names by a path: models in folders, and `data_dir`.
"""

import io
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from socket import create_connection
from tempfile import TemporaryDirectory
from typing import Any

from ia2.errors import InputError
from ia2.experiments.loading import load_for
from ia2.experiments.plan import Unit
from ia2.experiments.run import Ledger, Load, Outcome, error_text
from ia2.experiments.schema import Experiment
from ia2.experiments.shared_work import SharedWork
from ia2.experiments.store import Store
from ia2.experiments.trackers import UNTRACKED, Tracking
from ia2.experiments.unit import compute
from ia2.progress import SILENT, Progress

RETRIES = 3
"""How often Ray begins a unit again whose machine or process died."""
MOST_AT_ONCE = 256
"""Units that are given to Ray at once: each holds a file open, of which processes may have about 1000."""
REACHABLE = 5.0
"""Seconds in which a cluster must answer. Ray itself asks for minutes and then ends the process."""
LOOKED_AFTER = 10.0
"""Seconds after which it is asked again whether it is there, while units are computed."""


def run_on_cluster(
    experiment: Experiment,
    store: Store,
    address: str,
    *,
    data_dir: Path | None = None,
    limit: int | None = None,
    load: Load | None = None,
    progress: Progress = SILENT,
    tracking: Tracking = UNTRACKED,
    work: SharedWork | None = None,
) -> Outcome:
    """Compute every unit that is missing, as many at once as the cluster has GPUs.

    Where it has none, a unit has as many CPUs as the smallest machine, so that none holds more models than it must.

    Args:
        experiment: the study.
        store: its folder, opened for it, on this machine.
        address: HOST:PORT of the cluster's head, or `auto` for the one that this machine belongs to.
        data_dir: a folder of benchmark files, on every machine, instead of the hub.
        limit: the most evaluation rows, where the study has no smaller number.
        load: how a model is loaded by its name; by default as the study's dtype and a task's machine want it.
        progress: told which units are done.
        tracking: shown the records of every unit that is done.
        work: what other studies have computed, in a folder that every machine sees; by default units share nothing.

    Raises:
        InputError: Ray isn't installed, the cluster can't be reached, it has nothing to compute with, or a record can't
            be read or shown in the tracker.
        ConnectionError: the cluster went away in the middle. What was done is kept.
    """
    ledger = Ledger(experiment, store, progress, tracking)
    with _connected(address) as ray:
        needs = _needs(ray, address)
        begin = ray.remote(max_retries=RETRIES, **needs)(_computed)
        # a task runs in a folder of Ray's
        data = data_dir.absolute() if data_dir is not None else None
        shared = work.folder.absolute() if work is not None and work.folder is not None else None
        waiting, running = iter(ledger.missing), dict[Any, tuple[Unit, ExitStack]]()
        with ExitStack() as claims:
            while True:
                while len(running) < MOST_AT_ONCE and (unit := next(waiting, None)) is not None:
                    claim = claims.enter_context(ExitStack())
                    if claim.enter_context(ledger.claimed(unit)):
                        running[begin.remote(ledger.experiment, unit, data, limit, load, shared)] = unit, claim
                    else:
                        claim.close()
                if not running:
                    return ledger.outcome()
                ledger.tell(min(len(running), _slots(ray, needs)))
                while not (ended := ray.wait(list(running), fetch_local=False, timeout=LOOKED_AFTER)[0]):
                    _check_still_there(ray)
                unit, claim = running.pop(ended[0])
                with claim:
                    _settle(ray, ledger, unit, ended[0])


def _computed(
    experiment: Experiment,
    unit: Unit,
    data_dir: Path | None,
    limit: int | None,
    load: Load | None,
    shared: Path | None,
) -> bytes | str:
    """A unit's files as an archive, or the error that computing them ended in. This runs on the cluster's machines.

    An error is returned, not raised, so that it is the one that a run on one machine would write down.
    """
    with TemporaryDirectory(prefix="ia2-") as temporary_name:
        folder = Path(temporary_name)
        try:
            load = load or partial(load_for, experiment)
            model = load(unit.model)
            work = SharedWork(shared)
            compute(experiment, unit, model, folder, data_dir=data_dir, limit=limit, progress=SILENT, work=work)
        except Exception as error:
            return error_text(error)
        return packed(folder)


def _settle(ray: Any, ledger: Ledger, unit: Unit, task: Any) -> None:
    """Take in what a task that ended has returned."""
    try:
        returned: bytes | str = ray.get(task)
    except ray.exceptions.LocalRayletDiedError as error:
        raise _gone(ray, error) from error  # Ray's part of this machine, through which units are given
    except ray.exceptions.RayError as error:
        _check_still_there(ray)
        # its machines died more often than it is begun again, or couldn't run it at all
        ledger.fail(unit, error_text(error))
        return
    if isinstance(returned, str):
        ledger.fail(unit, returned)
    else:
        ledger.take(unit, lambda _unit, folder: unpack(returned, folder))


def packed(folder: Path) -> bytes:
    """A folder's files as an archive, uncompressed: adapters are random numbers, which don't get smaller."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                files.write(path, path.relative_to(folder).as_posix())
    return archive.getvalue()


def unpack(archive: bytes, folder: Path) -> None:
    """The files of an archive, put into a folder."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        files.extractall(folder)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected to a cluster for a while."""
    try:
        import ray
    except ImportError as error:
        raise InputError(f"--cluster {address}: this needs Ray. Install it: pip install 'ia2[cluster]'.") from error
    if address != "auto":
        _check_reachable(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (OSError, ValueError, RuntimeError, SystemExit) as error:
        raise InputError(
            f"--cluster {address}: Ray can't join this cluster ({' '.join(str(error).split())})."
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(address: str) -> None:
    """Connect to HOST:PORT for a moment. Raises OSError where nothing answers in time, OverflowError for no port."""
    host, _, port = address.rpartition(":")
    create_connection((host, int(port)), timeout=REACHABLE).close()


def _check_still_there(ray: Any) -> None:
    """Raise ConnectionError where the cluster's head is gone: then no unit has failed, and each would seem to have."""
    try:
        _connect(ray.get_runtime_context().gcs_address)
    except OSError as error:
        raise _gone(ray, error) from error


def _gone(ray: Any, error: Exception) -> ConnectionError:
    return ConnectionError(
        f"the cluster at {ray.get_runtime_context().gcs_address} is gone ({error}). Finished work is kept; start the "
        "cluster again, and run the same command to continue."
    )


def _check_reachable(address: str) -> None:
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(
            f"--cluster {address}: use HOST:PORT, such as 127.0.0.1:6379, or auto for this machine's cluster."
        )
    try:
        _connect(address)
    except (OSError, OverflowError) as error:
        raise InputError(
            f"--cluster {address}: nothing answers there ({error}). Start a cluster with ray start --head, or "
            "correct the address."
        ) from error


def _machines(ray: Any) -> list[dict[str, float]]:
    """The resources of each machine that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _needs(ray: Any, address: str) -> dict[str, float]:
    """What a unit takes of a machine."""
    machines = _machines(ray)
    if any(machine.get("GPU") for machine in machines):
        return {"num_gpus": 1}
    cpus = [machine["CPU"] for machine in machines if machine.get("CPU")]
    if not cpus:
        raise InputError(f"--cluster {address}: this cluster has neither GPUs nor CPUs. Add machines to it.")
    return {"num_cpus": min(cpus)}


def _slots(ray: Any, needs: dict[str, float]) -> int:
    """How many units the cluster can compute at once."""
    name, amount = ("GPU", needs["num_gpus"]) if "num_gpus" in needs else ("CPU", needs["num_cpus"])
    return sum(int(machine.get(name, 0) // amount) for machine in _machines(ray))
