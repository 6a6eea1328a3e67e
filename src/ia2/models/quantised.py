"""Weights in 4 or 8 bits (bitsandbytes): a model loaded so, or a checkpoint that has them so already.

As in QLoRA (Dettmers et al. 2023), the base model is quantised, and adapters beside it are trained in float32.
"""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from ia2.errors import FieldError, InputError

Bits = Literal["4bit", "8bit"]
"""How a model's weights may be loaded: NF4 with double quantisation (QLoRA), or LLM.int8()."""
LIBRARY = "bitsandbytes"


def quantisation_of(network: PreTrainedModel) -> str | None:
    """How a network's weights are quantised: `4bit`, `8bit` or another method's name; None where they are plain."""
    # a network that transformers has dequantised as it loaded it has no quantiser any more
    return quantisation_in(network.config) if getattr(network, "hf_quantizer", None) is not None else None


def quantisation_in(config: PreTrainedConfig) -> str | None:
    """The same by a checkpoint's configuration.

    Example:
        >>> quantisation_in(model.network.config) is None
        True
    """
    stored = getattr(config, "quantization_config", None)
    if stored is None:
        return None
    settings: Mapping[str, Any] = stored if isinstance(stored, dict) else stored.to_dict()
    for bits in get_args(Bits):
        if settings.get(f"load_in_{bits}"):
            return str(bits)
    return str(settings.get("quant_method") or "an unknown method")


def quantisation_for(
    asked: str | None, config: PreTrainedConfig, dtype: torch.dtype, name: str
) -> BitsAndBytesConfig | None:
    """What transformers is told so that a checkpoint's weights are quantised as it is loaded.

    Args:
        asked: how they are to be; None for as they are.
        config: the checkpoint's configuration.
        dtype: what products are computed in.
        name: what an error calls the model.

    Returns:
        None where weights stay as they are in the checkpoint.

    Raises:
        FieldError: there is no such way, they are quantised otherwise already, or the library isn't installed.
        InputError: the checkpoint needs the library, and it isn't installed.
    """
    if asked is not None and asked not in get_args(Bits):
        raise FieldError("load", asked, f"use {' or '.join(get_args(Bits))}, or leave it out.")
    already = quantisation_in(config)
    if asked is not None and already not in (None, asked):
        raise FieldError("load", asked, f"{name} is quantised already ({already}); leave it out.")
    if asked in (None, already) and already not in get_args(Bits):
        return None
    if find_spec(LIBRARY) is None:
        needs = f"{asked or already} weights need {LIBRARY}, which isn't installed: pip install 'ia2[quantized]'."
        raise FieldError("load", asked, needs) if asked is not None else InputError(f"{name}: {needs}")
    # it warns at every product of 8 bits that activations are rounded to float16, which is said once instead
    logging.getLogger(f"{LIBRARY}.autograd._functions").setLevel(logging.ERROR)
    if already is not None:
        return None
    if asked == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def quantisation_notes(network: PreTrainedModel, name: str, asked: str | None) -> tuple[str, ...]:
    """What is said of quantised weights, one sentence; nothing of plain ones."""
    quantisation = quantisation_of(network)
    if quantisation is None:
        return ()
    why = "as asked" if asked is not None else "as its checkpoint has them"
    products = "; products of 8 bits round activations to float16" if quantisation == "8bit" else ""
    return (f"Model {name}: weights are quantised ({quantisation}, {why}), and adapters are not{products}.",)


def check_plain_weights(network: PreTrainedModel, what: str, instead: str) -> None:
    """Refuse what needs the numbers of a network's weights, where they are quantised or not in a device's memory.

    Args:
        network: a model.
        what: what needs them, as the beginning of a sentence.
        instead: what to do, as a sentence.

    Raises:
        InputError: they aren't at hand.
    """
    quantisation = quantisation_of(network)
    if quantisation is not None:
        raise InputError(f"{what} the model's own weights, and these are quantised ({quantisation}). {instead}")
    if any(parameter.is_meta for parameter in network.parameters()):
        raise InputError(f"{what} the model's own weights, and some of these aren't in a device's memory. {instead}")
