"""A network in PEFT's hands for a while: an adapter's modules are injected into it, and all is as it was afterwards."""

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
"""PEFT's initialisations that took from the model's weights what only the data of training could tell."""


def peft_model(network: PreTrainedModel, configuration: PeftConfig, *, empty: bool = False) -> PeftModel:
    """PEFT's model of a network with a new adapter injected; see `injected` for one that is taken out again.

    Args:
        network: what it is injected into.
        configuration: the adapter's kind and size.
        empty: leave the adapter's tensors without values.

    Raises:
        InputError: the network has no modules of the names that the configuration gives.
    """
    with warnings.catch_warnings():
        # peft 0.21 asks transformers 5.24 for an attribute that was renamed
        # an adapter of another model is looked at here, by its tensors
        warnings.filterwarnings("ignore", "The PEFT config's `base_model_name_or_path` was renamed", UserWarning)
        # which is refused here where somebody asks for it
        warnings.filterwarnings("ignore", "`lora_bias=True` was passed but the targeted layer", UserWarning)
        warnings.filterwarnings(
            "ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning, r"transformers\.modeling_utils"
        )
        try:
            return get_peft_model(network, configuration, low_cpu_mem_usage=empty)
        except Exception as error:  # of a configuration that makes no sense PEFT's own code breaks anywhere
            raise InputError(f"the adapter doesn't fit this model: {first_line(error)}.") from error


@contextmanager
def injected(network: PreTrainedModel, configuration: PeftConfig, *, empty: bool = False) -> Iterator[PeftModel]:
    """The same for the length of a block; then the network has its own modules, with every number as it was.

    Raises:
        InputError: as `peft_model`, or the adapter began with weights taken from the model that can't be told any more.
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
    """Refuse a network of which PEFT would read an adapter's tensors under other names, and so not at all.

    transformers keeps patterns by which names of old checkpoints become those of a network, and PEFT applies them to
    adapters. Of a few kinds they match the new names once more, and PEFT's reload says nothing.

    Args:
        network: what the adapter is for.
        configuration: the adapter's.
        weights: its tensors, named as in PEFT's file.

    Raises:
        InputError: a tensor would be renamed to that of a module which isn't there; names both.
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
    """The names under which PEFT reads an adapter's tensors: of old checkpoints those that the network has now.

    Args:
        model: PEFT's model with an adapter of this configuration.
        configuration: the adapter's.
        weights: its tensors, named as in PEFT's file.
    """
    return set(convert_peft_adapter_state_dict_for_transformers(model, configuration, dict(weights)))


def peft_state(model: PeftModel) -> dict[str, Tensor]:
    """The tensors of the adapter that is attached, named as in PEFT's file."""
    # embeddings are never adapted; left to itself PEFT asks the hub whether they were
    state: dict[str, Tensor] = get_peft_model_state_dict(model, save_embedding_layers=False)
    return state


def _empty(configuration: PeftConfig) -> PeftConfig:
    """The same without anything that is computed from the network at the beginning."""
    empty = copy.deepcopy(configuration)
    if hasattr(empty, "init_lora_weights"):
        empty.init_lora_weights = True
    if hasattr(empty, "kasa_config"):
        empty.kasa_config = None
    return empty


def _written_to(network: PreTrainedModel, configuration: PeftConfig) -> list[nn.Parameter]:
    """The network's own parameters that PEFT changes with an adapter of this configuration."""
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
    # PEFT's unload leaves modules that were saved whole in the place of the network's own
    current = dict(network.named_modules())
    for name, module in modules.items():
        if current.get(name) is not module:
            network.set_submodule(name, module)
    # PEFT would warn when it meets the network again
    vars(network).pop("peft_config", None)
