"""Adapters: from names to PEFT configurations, attached to a network for a while, kept in memory or on disk."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from ia2.cache import folder_written_whole
from ia2.errors import InputError
from ia2.models.attention import Projection, projection_names
from ia2.models.bank import Bank
from ia2.randomness import derived_seed

CONFIGURATION_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"


@dataclass(frozen=True, kw_only=True)
class LoRA:
    """Low-rank updates of attention projections (Hu et al. 2021); the defaults are the paper's (appendix B)."""

    rank: int = 8
    """Rank of each update."""
    alpha: int = 8
    """The update is scaled by alpha / rank."""
    modules: tuple[Projection, ...] = ("query", "key", "output")
    """Which projections are updated."""

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha < 1 or not self.modules:
            raise InputError(f"LoRA: rank {self.rank}, alpha {self.alpha}, modules {self.modules}: all must be given.")

    def configuration(self, network: PreTrainedModel) -> PeftConfig:
        """PEFT's form of this for one network. Raises InputError where its attention can't be found."""
        names = projection_names(network, self.modules)
        return LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
            target_modules=_shortest(names, network),
            fan_in_fan_out=isinstance(network.get_submodule(names[0]), Conv1D),
        )

    def as_record(self, path: str | None) -> dict[str, Any]:
        """What a record says of an adapter of this kind that lies at `path`."""
        return {"kind": "lora", "rank": self.rank, "alpha": self.alpha, "modules": list(self.modules), "path": path}


def _shortest(names: list[str], network: PreTrainedModel) -> list[str]:
    # servers such as vLLM expect short names; they serve only where no module outside the attention block shares them
    short = sorted({name.rpartition(".")[2] for name in names})
    matched = {name for name, _ in network.named_modules() if name.rpartition(".")[2] in short}
    return short if matched == set(names) else names


@dataclass(frozen=True)
class Adapter:
    """A trained adapter in memory."""

    configuration: PeftConfig
    weights: Mapping[str, Tensor] = field(repr=False)
    """The tensors, named as in PEFT's file."""

    def save(self, folder: Path | str) -> None:
        """Write it as PEFT does, whole or not at all; `PeftModel.from_pretrained(base, folder)` loads it."""
        with folder_written_whole(Path(folder)) as partial:
            self.configuration.save_pretrained(str(partial))
            tensors = {name: tensor.contiguous() for name, tensor in self.weights.items()}
            save_file(tensors, partial / WEIGHTS_FILE, metadata={"format": "pt"})

    @classmethod
    def load(cls, folder: Path | str) -> "Adapter":
        """Read an adapter that was written by this class or by PEFT.

        Raises:
            InputError: the folder holds none, or one whose files can't be read.
        """
        folder = Path(folder)
        for name in (CONFIGURATION_FILE, WEIGHTS_FILE):
            if not (folder / name).is_file():
                raise InputError(f"{folder}: no adapter here: {name} is missing. Name the folder that holds it.")
        try:
            configuration = PeftConfig.from_pretrained(str(folder))
            weights = load_file(folder / WEIGHTS_FILE)
        except Exception as error:  # each library has its own for a damaged file
            raise InputError(f"{folder}: the adapter can't be read ({str(error).splitlines()[0]}).") from error
        return cls(configuration, weights)

    def as_record(self, path: str | None) -> dict[str, Any]:
        """What a record says of it."""
        kept = json.loads(json.dumps(self.configuration.to_dict(), default=str))
        kind = str(kept["peft_type"]).lower()
        modules = (
            sorted(self.configuration.target_modules or []) if hasattr(self.configuration, "target_modules") else []
        )
        return {"kind": kind, "rank": kept.get("r"), "alpha": kept.get("lora_alpha"), "modules": modules, "path": path}


def fresh_adapter(network: PreTrainedModel, configuration: PeftConfig, seed: int) -> Adapter:
    """An untrained adapter, the same for the same seed; it leaves the network's outputs as they are.

    Args:
        network: what it is to be attached to.
        configuration: its kind and size.
        seed: the set's seed, so that every method and learning rate of a set starts from the same adapter.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "adapter"))
        model = peft_model(network, configuration)
        adapter = weights_of(model)
        model.unload()
    return adapter


def weights_of(model: PeftModel) -> Adapter:
    """A copy of the adapter that is attached."""
    # embeddings are never adapted; left to itself PEFT asks the hub whether they were
    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
    return Adapter(model.active_peft_config, weights)


def peft_model(network: PreTrainedModel, configuration: PeftConfig) -> PeftModel:
    """PEFT's model of a network with a new adapter injected; `unload` takes it out again."""
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.24 for an attribute that was renamed
        warnings.filterwarnings(
            "ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning, r"transformers\.modeling_utils"
        )
        return get_peft_model(network, configuration)


@contextmanager
def attached(network: PreTrainedModel, adapter: Adapter | None) -> Iterator[PeftModel | None]:
    """Run the network with a frozen adapter; it is as it was when the block is left (None attaches nothing).

    Raises:
        InputError: the adapter was made for another model.
    """
    if adapter is None:
        yield None
        return
    try:
        model = peft_model(network, adapter.configuration)
    except ValueError as error:
        raise InputError(f"the adapter doesn't fit this model: {str(error).splitlines()[0]}") from error
    try:
        try:
            loaded = set_peft_model_state_dict(model, dict(adapter.weights))
        except RuntimeError as error:
            raise InputError("the adapter doesn't fit this model: its matrices have other shapes.") from error
        if loaded.unexpected_keys or any("lora_" in key or "ia3_" in key for key in loaded.missing_keys):
            raise InputError("the adapter doesn't fit this model: it names other layers or modules.")
        model.requires_grad_(False)
        yield model.eval()
    finally:
        model.unload()


def bank_of(network: PreTrainedModel, adapters: Sequence[Adapter]) -> Bank | None:
    """The adapters as a bank; None where they can't be stacked: not LoRA, of different sizes, or none at all.

    Raises:
        InputError: the adapters were made for another model.
    """
    if not adapters or any(not isinstance(one.configuration, LoraConfig) for one in adapters):
        return None
    first = adapters[0]
    alike = all(
        {name: tensor.shape for name, tensor in one.weights.items()}
        == {name: tensor.shape for name, tensor in first.weights.items()}
        and one.configuration.lora_alpha == first.configuration.lora_alpha
        and not (one.configuration.use_dora or one.configuration.use_rslora or one.configuration.bias != "none")
        for one in adapters
    )
    if not alike:
        return None
    try:
        return Bank(network, [one.weights for one in adapters], first.configuration.lora_alpha / first.configuration.r)
    except AttributeError as error:
        raise InputError("the adapters don't fit this model: they name other layers or modules.") from error
