"""IA2: train a small adapter to do what a language model does with a few demonstrations in its prompt."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ia2.adapters.adapter import Adapter, bank_of, fresh_adapter
    from ia2.adapters.bank import Bank
    from ia2.adapters.full import FullFineTuning
    from ia2.adapters.ia3 import IA3
    from ia2.adapters.lora import LoRA
    from ia2.adapters.prefix import PrefixTuning
    from ia2.adapters.prompt import PromptTuning
    from ia2.adapters.vera import VeRA
    from ia2.analysis.significance import paired_test
    from ia2.analysis.similarity import asim, response_activations
    from ia2.analysis.subspace import subspace_overlap
    from ia2.classifier import Classifier
    from ia2.errors import InputError
    from ia2.evaluation.evaluate import EvaluationSettings, evaluate, evaluate_all
    from ia2.models.load import load_model
    from ia2.models.reader import Reader
    from ia2.models.sequences import TokenSequence
    from ia2.models.sites import Site, record
    from ia2.prompting.fewshot import FewShotSet
    from ia2.records import Record
    from ia2.tasks.files.labelled import load_file
    from ia2.tasks.load import load_task
    from ia2.training.early_stopping import Training
    from ia2.training.methods import METHODS, Method, Stage
    from ia2.training.objectives import Align, AlignAndMatch, MatchDistribution, MatchTokens
    from ia2.training.plans import Plan, Trained
    from ia2.training.teacher import collect_targets
    from ia2.training.train import train, train_all

__all__ = [
    "IA3",
    "METHODS",
    "Adapter",
    "Align",
    "AlignAndMatch",
    "Bank",
    "Classifier",
    "EvaluationSettings",
    "FewShotSet",
    "FullFineTuning",
    "InputError",
    "LoRA",
    "MatchDistribution",
    "MatchTokens",
    "Method",
    "Plan",
    "PrefixTuning",
    "PromptTuning",
    "Reader",
    "Record",
    "Site",
    "Stage",
    "TokenSequence",
    "Trained",
    "Training",
    "VeRA",
    "asim",
    "bank_of",
    "collect_targets",
    "evaluate",
    "evaluate_all",
    "fresh_adapter",
    "load_file",
    "load_model",
    "load_task",
    "paired_test",
    "record",
    "response_activations",
    "subspace_overlap",
    "train",
    "train_all",
]

_HOMES = {
    "Adapter": "ia2.adapters.adapter",
    "Align": "ia2.training.objectives",
    "AlignAndMatch": "ia2.training.objectives",
    "EvaluationSettings": "ia2.evaluation.evaluate",
    "Bank": "ia2.adapters.bank",
    "Classifier": "ia2.classifier",
    "FewShotSet": "ia2.prompting.fewshot",
    "FullFineTuning": "ia2.adapters.full",
    "IA3": "ia2.adapters.ia3",
    "InputError": "ia2.errors",
    "LoRA": "ia2.adapters.lora",
    "METHODS": "ia2.training.methods",
    "MatchDistribution": "ia2.training.objectives",
    "MatchTokens": "ia2.training.objectives",
    "Method": "ia2.training.methods",
    "Plan": "ia2.training.plans",
    "PrefixTuning": "ia2.adapters.prefix",
    "PromptTuning": "ia2.adapters.prompt",
    "Reader": "ia2.models.reader",
    "Record": "ia2.records",
    "Site": "ia2.models.sites",
    "Stage": "ia2.training.methods",
    "TokenSequence": "ia2.models.sequences",
    "Trained": "ia2.training.plans",
    "Training": "ia2.training.early_stopping",
    "VeRA": "ia2.adapters.vera",
    "asim": "ia2.analysis.similarity",
    "bank_of": "ia2.adapters.adapter",
    "collect_targets": "ia2.training.teacher",
    "evaluate": "ia2.evaluation.evaluate",
    "evaluate_all": "ia2.evaluation.evaluate",
    "fresh_adapter": "ia2.adapters.adapter",
    "load_file": "ia2.tasks.files.labelled",
    "load_model": "ia2.models.load",
    "load_task": "ia2.tasks.load",
    "paired_test": "ia2.analysis.significance",
    "record": "ia2.models.sites",
    "response_activations": "ia2.analysis.similarity",
    "subspace_overlap": "ia2.analysis.subspace",
    "train": "ia2.training.train",
    "train_all": "ia2.training.train",
}


def __getattr__(name: str) -> Any:
    # imported on first use, so that `ia2 --help` doesn't import torch or transformers
    if name not in _HOMES:
        raise AttributeError(f"module 'ia2' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
