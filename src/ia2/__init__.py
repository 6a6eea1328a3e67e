"""IA2: what a language model does with a few demonstrations in its prompt, moved into a small adapter."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ia2.adapters.adapter import Adapter
    from ia2.adapters.kinds import LoRA
    from ia2.errors import InputError
    from ia2.evaluation.evaluate import evaluate
    from ia2.models.load import load_model
    from ia2.prompting.fewshot import FewShotSet
    from ia2.tasks.files.labelled import load_file
    from ia2.tasks.load import load_task
    from ia2.training.early_stopping import Training
    from ia2.training.methods import METHODS
    from ia2.training.teacher import collect_targets
    from ia2.training.train import train

__all__ = [
    "METHODS",
    "Adapter",
    "FewShotSet",
    "InputError",
    "LoRA",
    "Training",
    "collect_targets",
    "evaluate",
    "load_file",
    "load_model",
    "load_task",
    "train",
]

_HOMES = {
    "METHODS": "ia2.training.methods",
    "Adapter": "ia2.adapters.adapter",
    "FewShotSet": "ia2.prompting.fewshot",
    "InputError": "ia2.errors",
    "LoRA": "ia2.adapters.kinds",
    "Training": "ia2.training.early_stopping",
    "collect_targets": "ia2.training.teacher",
    "evaluate": "ia2.evaluation.evaluate",
    "load_file": "ia2.tasks.files.labelled",
    "load_model": "ia2.models.load",
    "load_task": "ia2.tasks.load",
    "train": "ia2.training.train",
}


def __getattr__(name: str) -> Any:
    # imported when first used, so that `ia2 --help` needs neither torch nor transformers
    if name not in _HOMES:
        raise AttributeError(f"module 'ia2' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
