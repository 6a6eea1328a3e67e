"""Checkpoints of banks, trained or in training, from which a killed run resumes; deleted when the run is done."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file

from ia2.cache import cache_folder, written_whole
from ia2.models.load import ModelIdentity
from ia2.records import versions
from ia2.training.early_stopping import StageHistory
from ia2.training.job import Job, Outcome
from ia2.training.stage_checkpoint import StageCheckpoint, read_checkpoint, unreadable
from ia2.training.targets import TargetRows

HISTORIES = TypeAdapter(list[StageHistory])


class Checkpoints:
    """One checkpoint file per bank, named by a digest of everything that its adapters depend on, including each other.

    A bank is only loaded with all its adapters, so that a resumed run gives the same bytes as an uninterrupted one.

    Example:
        >>> checkpoints = Checkpoints(Path("stages"), model.identity)
        >>> few = FewShotSet.draw(task, 2)
        >>> plans, short = [Plan(few, METHODS["sft"], 1e-3)], Training(epochs=2)
        >>> (trained,) = train_all(model, plans, training=short, checkpoints=checkpoints)
        >>> (again,) = train_all(model, plans, training=short, checkpoints=checkpoints)
        >>> again.stages == trained.stages, len(list(Path("stages").iterdir()))
        (True, 1)
    """

    def __init__(self, folder: Path, identity: ModelIdentity) -> None:
        """Store checkpoints of a model's banks in a folder, which is created by the first `save`."""
        self.folder = folder
        self._computed_by = {"model": identity.as_record(), "versions": versions()}

    @classmethod
    def of(cls, owner: Mapping[str, Any], identity: ModelIdentity, cache_dir: Path | None = None) -> "Checkpoints":
        """Return checkpoints in a subfolder of the cache that belongs to this owner.

        Args:
            owner: description of the run that the banks belong to, as plain values.
            identity: the identity of the model.
            cache_dir: the cache folder; by default the project's.
        """
        name = hashlib.sha256(json.dumps(owner, sort_keys=True).encode()).hexdigest()
        return cls((cache_dir or cache_folder()) / "stages" / name, identity)

    def load(self, bank: Sequence[Job]) -> list[Outcome] | None:
        """Return the outcomes of a bank's training, or None if it has no checkpoint.

        Raises:
            InputError: the checkpoint is damaged.
        """
        file = self._file(bank)
        if not file.exists():
            return None
        tensors, metadata = read_checkpoint(file)
        try:
            histories = HISTORIES.validate_python(json.loads(metadata["histories"]))
        except (ValueError, KeyError, TypeError) as error:
            raise unreadable(file, error) from error
        outcomes = []
        for number, (job, history) in enumerate(zip(bank, histories, strict=True)):
            trained = {name: tensors.get(f"{number} {name}", start) for name, start in job.start.weights.items()}
            outcomes.append((replace(job.start, weights=trained), history))
        return outcomes

    def save(self, bank: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        """Write the tensors of a bank's adapters that training changed, atomically."""
        changed = {
            f"{number} {name}": tensor.contiguous()
            for number, (job, (adapter, _)) in enumerate(zip(bank, outcomes, strict=True))
            for name, tensor in adapter.weights.items()
            if tensor is not job.start.weights[name]
        }
        # not pydantic's JSON, which writes null for losses that are NaN or infinite
        histories = json.dumps([asdict(history) for _, history in outcomes])
        with written_whole(self._file(bank)) as partial:
            save_file(changed, partial, metadata={"histories": histories})
        self.unfinished(bank).delete()

    def unfinished(self, bank: Sequence[Job]) -> StageCheckpoint:
        """Return the checkpoint of a bank in training."""
        return StageCheckpoint(self._file(bank).with_suffix(".unfinished.safetensors"))

    def clear(self) -> None:
        """Delete all checkpoints once the run is done."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, bank: Sequence[Job]) -> Path:
        content = hashlib.sha256(json.dumps(self._computed_by, sort_keys=True).encode())
        for job in bank:
            content.update(_digest(job))
        return self.folder / f"{content.hexdigest()}.safetensors"


def _digest(job: Job) -> bytes:
    """Return a digest of everything that a job's outcome depends on, except the model and the rest of the bank."""
    configuration = json.dumps(job.start.configuration.to_dict(), default=_as_json, sort_keys=True)
    described = [job.rows.stage, job.stopping.training, job.stopping.seed, job.learning_rate, job.stages_before]
    described.append(job.stopping.exact_steps)
    for rows in (job.rows.train, job.rows.dev):
        described += [list(rows.sequences), _files(rows.targets)]
    content = hashlib.sha256(f"{configuration} {described}".encode())
    for name, tensor in job.start.weights.items():
        content.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        content.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return content.digest()


def _as_json(value: Any) -> Any:
    """Encode values of PEFT's configurations for JSON; sets are sorted, as their order differs between processes."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value)


def _files(targets: TargetRows | None) -> list[str]:
    """Return the names of the target files, whose folder's name is a digest of the teacher's inputs."""
    return [] if targets is None else [f"{file.parent.name}/{file.name}" for file in targets.files]
