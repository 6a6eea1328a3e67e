"""Inject an adapter's PEFT modules into a network temporarily, and restore the network afterwards."""

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.utils.transformers_weight_conversion import convert_peft_adapter_state_dict_for_transformers
from torch import Tensor, nn
from transformers import PreTrainedModel

from ia2.adapters.kind import PREFIX
from ia2.adapters.lora import NEUTRAL_BEGINNINGS
from ia2.errors import InputError
from ia2.models.gguf import first_line

UNREPEATABLE = ("corda", "lora_ga")
"""PEFT's initialisations that modify the base weights in a way that only the training data could reproduce."""


def peft_model(network: PreTrainedModel, configuration: PeftConfig, *, empty: bool = False) -> PeftModel:
    """Return PEFT's model of a network with a new adapter injected; `injected` also removes it again.

    Args:
        network: the network to inject into, changed in place.
        configuration: the adapter's configuration.
        empty: leave the adapter's tensors uninitialised.

    Raises:
        InputError: the configuration doesn't fit the network, such as by naming modules that it lacks.
    """
    with warnings.catch_warnings():
        # peft 0.21 reads an attribute that transformers 5.24 has renamed
        # whether an adapter fits the model is checked here, by its tensors
        warnings.filterwarnings("ignore", "The PEFT config's `base_model_name_or_path` was renamed", UserWarning)
        # ia2 refuses this setting elsewhere
        warnings.filterwarnings("ignore", "`lora_bias=True` was passed but the targeted layer", UserWarning)
        warnings.filterwarnings(
            "ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning, r"transformers\.modeling_utils"
        )
        try:
            return get_peft_model(network, configuration, low_cpu_mem_usage=empty)
        except Exception as error:  # an invalid configuration can raise anything inside PEFT
            raise InputError(f"the adapter doesn't fit this model: {first_line(error)}.") from error


@contextmanager
def injected(network: PreTrainedModel, configuration: PeftConfig, *, empty: bool = False) -> Iterator[PeftModel]:
    """Inject an adapter inside the `with` block; afterwards the network has its own modules and values again.

    Raises:
        InputError: as `peft_model`, or the adapter's initialisation modified base weights irreproducibly.
    """
    originals = [(tensor, tensor.data, tensor.detach().clone()) for tensor in _written_to(network, configuration)]
    modules = dict(network.named_modules())
    model = None
    try:
        model = peft_model(network, configuration, empty=empty)
        yield model
    finally:
        if model is not None:
            model.unload()
        _put_back(network, modules)
        for tensor, storage, values in originals:
            tensor.data = storage
            tensor.data.copy_(values)
        network.requires_grad_(False)


def check_reloads(network: PreTrainedModel, configuration: PeftConfig, weights: Mapping[str, Tensor]) -> None:
    """Refuse a network for which PEFT would silently load an adapter's tensors under wrong names.

    transformers has patterns that rename the tensors of old checkpoints, and PEFT applies them to adapters. For a few
    model types they also match new names, and PEFT then skips the tensors without a message.

    Args:
        network: the adapter's base model.
        configuration: the adapter's configuration.
        weights: the adapter's tensors, named as in PEFT's file.

    Raises:
        InputError: a tensor would be renamed to one of a module that doesn't exist; the message names both.
    """
    read = convert_peft_adapter_state_dict_for_transformers(network, configuration, dict(weights))
    modules = {name for name, _ in network.named_modules()}
    for name in sorted(weights.keys() - read.keys()):
        (renamed,) = convert_peft_adapter_state_dict_for_transformers(network, configuration, {name: weights[name]})
        module = renamed.removeprefix(PREFIX).partition(".lora_")[0]
        if module not in modules:
            raise InputError(
                f"{network.config.model_type}: PEFT reads {name.removeprefix(PREFIX)} as of {module}, which this model "
                "hasn't got, so that a saved adapter would do nothing. Use another model, or another version of peft."
            )


def names_read(model: PeftModel, configuration: PeftConfig, weights: Mapping[str, Tensor]) -> set[str]:
    """Return the names under which PEFT loads an adapter's tensors; names of old checkpoints become current ones.

    Args:
        model: PEFT's model with an adapter of this configuration.
        configuration: the adapter's configuration.
        weights: the adapter's tensors, named as in PEFT's file.
    """
    return set(convert_peft_adapter_state_dict_for_transformers(model, configuration, dict(weights)))


def peft_state(model: PeftModel) -> dict[str, Tensor]:
    """Return the attached adapter's tensors, named as in PEFT's file."""
    # embeddings are never adapted; by default PEFT asks the hub whether they were
    state: dict[str, Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return state


def _empty(configuration: PeftConfig) -> PeftConfig:
    """Return the configuration without initialisations that are computed from the network's weights."""
    empty = copy.deepcopy(configuration)
    if hasattr(empty, "init_lora_weights"):
        empty.init_lora_weights = True
    if hasattr(empty, "kasa_config"):
        empty.kasa_config = None
    return empty


def _written_to(network: PreTrainedModel, configuration: PeftConfig) -> list[nn.Parameter]:
    """Return the base model's parameters that PEFT modifies with an adapter of this configuration."""
    beginning = getattr(configuration, "init_lora_weights", True)
    if isinstance(beginning, str) and beginning.startswith(UNREPEATABLE):
        raise InputError(
            f"this adapter began with weights taken from the model ({beginning}), and doesn't say which. Convert it "
            "where it was trained: PEFT's save_pretrained(..., path_initial_model_for_weight_conversion=...)."
        )
    parameters = dict(network.named_parameters())
    written: dict[str, nn.Parameter] = {}
    if getattr(configuration, "bias", "none") != "none":
        written |= {name: parameter for name, parameter in parameters.items() if name.endswith("bias")}
    if beginning not in NEUTRAL_BEGINNINGS or getattr(configuration, "kasa_config", None) is not None:
        with injected(network, _empty(configuration), empty=True) as model:
            targets = tuple(f"{name}." for name in model.base_model.targeted_module_names)
        written |= {name: parameter for name, parameter in parameters.items() if name.startswith(targets)}
    return list(written.values())


def _put_back(network: PreTrainedModel, modules: dict[str, nn.Module]) -> None:
    # PEFT's unload leaves copies in place of modules that were saved whole
    current = dict(network.named_modules())
    for name, module in modules.items():
        if current.get(name) is not module:
            network.set_submodule(name, module)
    # otherwise PEFT warns when it sees the network again
    vars(network).pop("peft_config", None)
