"""Records and folders of a study that was never computed, for tests of reports."""

import json
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

from ia2.adapters.adapter import Adapter
from ia2.experiments.schema import Experiment
from ia2.records import Record

LORA = {"kind": "lora", "rank": 8, "alpha": 8, "modules": ["query", "key", "output"], "dora": False, "rslora": False}


def record(
    method: str,
    accuracy: float,
    *,
    seed: int = 0,
    lr: float | None = None,
    n: int = 4,
    train: str = "sst2",
    eval: str = "sst2",
    model: str = "small",
    adapter: dict[str, Any] | None = None,
    labels: str | None = "ground-truth",
    beta: float | None = None,
    dev_loss: float | None = None,
    ece: float | None = 0.1,
) -> Record:
    """A record as `ia2 run` writes it, in what reports read."""
    baseline = method in ("zero-shot", "icl")
    unit = f"{model.replace('/', '-')}-{train}-n{n}-set{seed}"
    stem = f"{method}_lr{lr}_beta{beta}_{labels}_on_{eval}"
    value = {
        "schema": 1,
        "method": method,
        "model": {"id": model, "revision": None, "dtype": "float32"},
        "task": {"train": train, "eval": eval},
        "n": 0 if method == "zero-shot" else n,
        "seed": seed,
        "lr": None if baseline else lr or 1e-3,
        "adapter": None if baseline else adapter or LORA,
        "metrics": {"accuracy": accuracy, "ece": ece, "ece_binning": None if ece is None else "equal-width"},
        "options": {
            "unit": unit,
            "set_n": n,
            "label_source": None if baseline else labels,
            "beta": beta,
            "dev_loss": dev_loss,
        },
        "notes": ["Said of the model."],
        "versions": {"torch": "2"},
        "predictions": f"../../predictions/{unit}/{stem}.jsonl",
        "file": f"records/{unit}/{stem}.json",
    }
    return Record.model_validate(value)


def changed(value: Record, **changes: Any) -> Record:
    """The same with other values: of a part, such as `metrics`, those keys alone that are given."""
    whole = value.as_json() | {"file": value.file}
    for key, change in changes.items():
        whole[key] = {**whole[key], **change} if isinstance(change, dict) and isinstance(whole[key], dict) else change
    return Record.model_validate(whole)


def diverged(method: str, **more: Any) -> Record:
    """A record of an adapter that was lost in training."""
    lost = record(method, 0.0, **more)
    stages = [{"steps": 2, "stopped_by": "diverged"}]
    whole = lost.as_json() | {"file": lost.file, "metrics": {}, "stages": stages, "predictions": None}
    return Record.model_validate(whole)


def with_adapter(value: Record, folder: Path, axes_by_layer: list[list[int]]) -> Record:
    """The record, with an adapter of rank 2 in the folder that writes into these axes of six, two a layer."""
    path = f"adapters/{value.options.unit}/{value.method}_lr{value.lr}"
    weights = {}
    for layer, axes in enumerate(axes_by_layer):
        name = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        reads = torch.tensor([[1.0, 2.0, 0.0], [0.0, 3.0, 1.0]])
        weights |= {f"{name}.lora_A.weight": reads, f"{name}.lora_B.weight": torch.eye(6)[:, axes].contiguous()}
    Adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["q_proj"]), weights).save(folder / path)
    return changed(value, adapter={"rank": 2, "path": path})


def write_study(folder: Path, records: list[Record], **changes: Any) -> Path:
    """A study's folder that holds these records."""
    settings = {
        "name": "fake",
        "description": "Never computed.",
        "models": ["small"],
        "tasks": [{"train": "sst2", "evaluate": ["sst2", "finsen"]}],
        "n": [4],
        "sets": 2,
        "methods": ["icl", "sft", "ia2"],
        **changes,
    }
    experiment = Experiment.model_validate(settings).model_dump(mode="json")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps({"digest": "", "limit": None, "experiment": experiment}))
    for one in records:
        path = folder / str(one.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(one.as_json()))
        if one.predictions is None:
            continue
        rows = path.parent / one.predictions
        rows.parent.mkdir(parents=True, exist_ok=True)
        rows.write_text(json.dumps({"confidence": 0.9, "correct": True}) + "\n")
    return folder
