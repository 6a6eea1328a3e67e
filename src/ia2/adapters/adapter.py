"""An adapter in memory, which can be saved and loaded in PEFT's format, attached to a network, or put into a bank."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from ia2.adapters.bank import Bank, can_hold
from ia2.adapters.configuration import FILE as CONFIGURATION_FILE
from ia2.adapters.configuration import check_patterns, check_rank, check_runs_here, read_configuration
from ia2.adapters.injection import check_reloads, injected, names_read, peft_state
from ia2.adapters.kind import Effect
from ia2.adapters.registry import effect_of
from ia2.cache import folder_written_whole
from ia2.errors import InputError
from ia2.models.gguf import first_line
from ia2.models.load import LanguageModel
from ia2.models.reader import Reader
from ia2.randomness import derived_seed

WEIGHTS_FILE = "adapter_model.safetensors"
OTHER_MODULES = "the adapter doesn't fit this model: it names other layers or modules."
OTHER_SHAPES = "the adapter doesn't fit this model: its matrices have other shapes."


@dataclass(frozen=True)
class Adapter:
    """A trained adapter in memory.

    Example:
        >>> adapter = fresh_adapter(model.network, LoRA(rank=2).configuration(model.network), seed=0)
        >>> adapter.save("saved")
        >>> Adapter.load("saved").weights.keys() == adapter.weights.keys()
        True
    """

    configuration: PeftConfig
    weights: Mapping[str, Tensor] = field(repr=False)
    """The tensors, named as in PEFT's file."""

    def save(self, folder: Path | str) -> None:
        """Write it in PEFT's format, atomically; `PeftModel.from_pretrained(base, folder)` loads it."""
        with folder_written_whole(Path(folder)) as partial:
            _ordered(self.configuration).save_pretrained(str(partial))
            tensors = {name: tensor.contiguous() for name, tensor in self.weights.items()}
            save_file(tensors, partial / WEIGHTS_FILE, metadata={"format": "pt"})
            # safetensors creates files that only their owner can read
            (partial / WEIGHTS_FILE).chmod((partial / CONFIGURATION_FILE).stat().st_mode & 0o777)

    @classmethod
    def load(cls, folder: Path | str) -> "Adapter":
        """Read an adapter that was written by this class or by PEFT.

        Raises:
            InputError: the folder holds no adapter, or its files can't be read.
        """
        folder = Path(folder)
        for name in (CONFIGURATION_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise InputError(f"{folder}: no adapter here: {name} is missing. Name the folder that holds it.")
        configuration = read_configuration(folder)
        try:
            weights = load_file(folder / WEIGHTS_FILE)
        except Exception as error:  # safetensors has its own exceptions for damaged files
            raise InputError(f"{folder}: the adapter can't be read ({first_line(error)}).") from error
        return cls(configuration, weights)

    def as_record(self, path: str | None) -> dict[str, Any]:
        """Return the adapter's entries in a record."""
        settings = json.loads(json.dumps(self.configuration.to_dict(), default=str))
        kind = str(settings["peft_type"]).lower()
        targets = getattr(self.configuration, "target_modules", None) or []
        modules = [targets] if isinstance(targets, str) else sorted(targets)
        return {
            "kind": kind,
            "rank": settings.get("r"),
            "alpha": settings.get("lora_alpha"),
            "modules": modules,
            "path": path,
        }


def fresh_adapter(network: PreTrainedModel, configuration: PeftConfig, seed: int) -> Adapter:
    """An untrained adapter, determined by the seed. Adapters of modules don't change the network's outputs at first.

    Virtual tokens are initialised to random words: their embeddings, or their keys and values.

    Args:
        network: the network to attach it to.
        configuration: its kind and size.
        seed: the set's seed, so that every method and learning rate of a set starts from the same adapter.

    Raises:
        InputError: the network has no such modules, PEFT would read their names differently, or weights that the
            adapter computes with aren't available.
        ValueError: adapters of this configuration can't be trained here.

    Example:
        >>> adapter = fresh_adapter(model.network, LoRA(rank=2).configuration(model.network), seed=0)
        >>> sorted({tuple(tensor.shape) for tensor in adapter.weights.values()})
        [(2, 32), (16, 2), (32, 2)]
    """
    effect = effect_of(configuration)
    if effect is None:
        raise ValueError("adapters of this configuration can't be trained here")
    effect.check_runs_on(network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "adapter"))
        weights = effect.fresh(network, configuration)
    if not weights:
        raise InputError(OTHER_MODULES)
    check_reloads(network, configuration, weights)
    named_configuration = copy.copy(configuration)
    named_configuration.base_model_name_or_path = vars(network).get("name_or_path") or None
    return Adapter(named_configuration, weights)


def _ordered(configuration: PeftConfig) -> PeftConfig:
    """Return the configuration with its sets sorted, since PEFT would save them in an arbitrary order."""
    ordered = copy.copy(configuration)
    for name, value in vars(configuration).items():
        if isinstance(value, set | frozenset):
            setattr(ordered, name, sorted(value))
    return ordered


def weights_of(model: PeftModel) -> Adapter:
    """Return a copy of the attached adapter."""
    weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in peft_state(model).items()}
    return Adapter(model.active_peft_config, weights)


@contextmanager
def attached(network: PreTrainedModel, adapter: Adapter) -> Iterator[PeftModel]:
    """Run the network with a frozen adapter attached by PEFT; the network is restored on leaving the block.

    Used for kinds that a bank doesn't support, and as the reference for those that it does.

    Raises:
        InputError: the adapter was made for another model, or has virtual tokens.
    """
    if adapter.configuration.is_prompt_learning:
        raise InputError(f"adapters of PEFT's kind {adapter.as_record(None)['kind']} can't be run here.")
    check_runs_here(adapter.configuration)
    check_patterns(network, adapter.configuration)
    check_rank(adapter.configuration, [tensor.numel() for tensor in adapter.weights.values()])
    with injected(network, adapter.configuration) as model:
        # PEFT silently leaves missing tensors at their initial values
        if not peft_state(model).keys() <= names_read(model, adapter.configuration, adapter.weights):
            raise InputError(OTHER_MODULES)
        try:
            loaded = set_peft_model_state_dict(model, dict(adapter.weights))
        except RuntimeError as error:
            raise InputError(OTHER_SHAPES) from error
        except KeyError as error:  # a tensor of modules_to_save is missing
            raise InputError(OTHER_MODULES) from error
        if loaded.unexpected_keys:
            raise InputError(OTHER_MODULES)
        model.requires_grad_(False)
        yield model.eval()


@contextmanager
def adapted(model: LanguageModel, adapters: Sequence[Adapter]) -> Iterator[Reader]:
    """Yield a reader with adapters: in a bank if they can form one, otherwise a single one attached by PEFT.

    Args:
        model: the frozen model.
        adapters: the adapters to run; none for the model alone.

    Raises:
        InputError: the adapters were made for another model, or can't be run here.
        ValueError: there are several adapters, and they can't form a bank.
    """
    if not adapters:
        yield Reader(model.network)
        return
    if (bank := bank_of(model.network, adapters)) is not None:
        yield Reader(model.network, bank)
        return
    if len(adapters) > 1:
        raise ValueError("adapters of different forms or sizes can't be read with together")
    with attached(model.network, adapters[0]):
        yield Reader(model.network)


def bank_of(network: PreTrainedModel, adapters: Sequence[Adapter]) -> Bank | None:
    """Return the adapters as a bank; None if their kinds or sizes differ, or a bank can't hold them.

    Raises:
        InputError: the adapters were made for another model, or compute with weights that aren't available here.

    Example:
        >>> configuration = LoRA(rank=2).configuration(model.network)
        >>> bank = bank_of(model.network, [fresh_adapter(model.network, configuration, seed) for seed in (0, 1)])
        >>> len(bank)
        2
    """
    effects = {effect_of(adapter.configuration) for adapter in adapters}
    effect = effects.pop() if len(effects) == 1 else None
    if effect is None:
        return None
    check_patterns(network, adapters[0].configuration)
    effect.check_runs_on(network)
    shapes = [
        {name: tensor.shape for name, tensor in adapter.weights.items() if name not in effect.shared}
        for adapter in adapters
    ]
    if any(other != shapes[0] for other in shapes):
        return None
    expected = effect.shapes(network, adapters[0].configuration)
    if expected is None:
        return None
    if expected.keys() != shapes[0].keys():
        raise InputError(OTHER_MODULES)
    if dict(expected) != shapes[0]:
        raise InputError(OTHER_SHAPES)
    if not can_hold(network, expected, effect) or not _share_tensors(adapters, effect):
        return None
    return Bank(network, [adapter.weights for adapter in adapters], effect)


def _share_tensors(adapters: Sequence[Adapter], effect: Effect) -> bool:
    """Return whether the tensors shared by all modules are present, and equal in all adapters."""
    return all(
        name in adapter.weights and torch.equal(adapter.weights[name], adapters[0].weights[name])
        for adapter in adapters
        for name in effect.shared
    )
