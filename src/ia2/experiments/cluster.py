"""Computation of a study on a Ray cluster: each unit is a Ray task, and Ray alone schedules and retries it.

A task computes its unit in a temporary folder and returns that folder as an archive, which the driver unpacks into the
study's folder. So machines need not share a file system. They need `ia2` and whatever the study names by a path:
models in folders, and `data_dir`.
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
"""How often Ray restarts a unit whose machine or process died."""
MOST_AT_ONCE = 256
"""Units submitted to Ray at once. Each holds its lock file open, and a process may open about 1000 files."""
REACHABLE = 5.0
"""Seconds a cluster has to answer. Ray itself tries for minutes and then ends the process."""
LOOKED_AFTER = 10.0
"""Seconds between checks that the cluster is alive, while units are computed."""


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
    """Compute every missing unit, as many at once as the cluster has GPUs.

    Without GPUs, each unit takes as many CPUs as the smallest machine has, so that no machine loads more models than
    necessary.

    Args:
        experiment: the study.
        store: the study's folder on this machine, opened for the study.
        address: HOST:PORT of the cluster's head, or `auto` for the cluster of this machine.
        data_dir: a folder of benchmark files, on every machine, instead of the hub.
        limit: maximum evaluation rows per task; a smaller maximum in the study takes precedence.
        load: loads a model by name; by default with the study's settings and the defaults of the task's machine.
        progress: receives messages about units that are done.
        tracking: shown the records of every finished unit.
        work: cache shared with other studies, in a folder that every machine sees; by default units share nothing.

    Raises:
        InputError: Ray isn't installed, the cluster can't be reached, it has neither GPUs nor CPUs, or a record can't
            be read or shown in the tracker.
        ConnectionError: the cluster went away during the run. Finished units are kept.
    """
    ledger = Ledger(experiment, store, progress, tracking)
    with _connected(address) as ray:
        needs = _needs(ray, address)
        compute_remotely = ray.remote(max_retries=RETRIES, **needs)(_computed)
        # tasks run in a working directory of Ray's
        data = data_dir.absolute() if data_dir is not None else None
        shared = work.folder.absolute() if work is not None and work.folder is not None else None
        pending, running = iter(ledger.missing), dict[Any, tuple[Unit, ExitStack]]()
        with ExitStack() as claims:
            while True:
                while len(running) < MOST_AT_ONCE and (unit := next(pending, None)) is not None:
                    claim = claims.enter_context(ExitStack())
                    if claim.enter_context(ledger.claimed(unit)):
                        running[compute_remotely.remote(ledger.experiment, unit, data, limit, load, shared)] = (
                            unit,
                            claim,
                        )
                    else:
                        claim.close()
                if not running:
                    return ledger.outcome()
                ledger.tell(min(len(running), _slots(ray, needs)))
                while not (finished := ray.wait(list(running), fetch_local=False, timeout=LOOKED_AFTER)[0]):
                    _check_still_there(ray)
                unit, claim = running.pop(finished[0])
                with claim:
                    _settle(ray, ledger, unit, finished[0])


def _computed(
    experiment: Experiment,
    unit: Unit,
    data_dir: Path | None,
    limit: int | None,
    load: Load | None,
    shared: Path | None,
) -> bytes | str:
    """Compute a unit on a machine of the cluster; return its files as an archive, or the text of the error.

    An error is returned, not raised, so that it reads as in a run on one machine.
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
    """Store the files that a finished task returned, or record its failure."""
    try:
        returned: bytes | str = ray.get(task)
    except ray.exceptions.LocalRayletDiedError as error:
        raise _gone(ray, error) from error  # without this machine's raylet no unit can be submitted
    except ray.exceptions.RayError as error:
        _check_still_there(ray)
        # the retries are used up, or no machine could run it
        ledger.fail(unit, error_text(error))
        return
    if isinstance(returned, str):
        ledger.fail(unit, returned)
    else:
        ledger.take(unit, lambda _unit, folder: unpack(returned, folder))


def packed(folder: Path) -> bytes:
    """Return a folder's files as an uncompressed archive: adapter weights don't compress."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                files.write(path, path.relative_to(folder).as_posix())
    return archive.getvalue()


def unpack(archive: bytes, folder: Path) -> None:
    """Extract an archive into a folder."""
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        files.extractall(folder)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Connect Ray to a cluster, and disconnect on leaving."""
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
    """Connect to HOST:PORT and disconnect. Raises OSError if nothing answers in time, OverflowError for a bad port."""
    host, _, port = address.rpartition(":")
    create_connection((host, int(port)), timeout=REACHABLE).close()


def _check_still_there(ray: Any) -> None:
    """Raise ConnectionError if the cluster's head is gone, so that its units aren't recorded as failed."""
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
    """Return the resources of each live machine."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _needs(ray: Any, address: str) -> dict[str, float]:
    """Return the Ray resources of one unit: a GPU, or all CPUs of the smallest machine."""
    machines = _machines(ray)
    if any(machine.get("GPU") for machine in machines):
        return {"num_gpus": 1}
    cpus = [machine["CPU"] for machine in machines if machine.get("CPU")]
    if not cpus:
        raise InputError(f"--cluster {address}: this cluster has neither GPUs nor CPUs. Add machines to it.")
    return {"num_cpus": min(cpus)}


def _slots(ray: Any, needs: dict[str, float]) -> int:
    """Return how many units the cluster can compute at once."""
    name, amount = ("GPU", needs["num_gpus"]) if "num_gpus" in needs else ("CPU", needs["num_cpus"])
    return sum(int(machine.get(name, 0) // amount) for machine in _machines(ray))
