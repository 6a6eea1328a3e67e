"""Weights in 4 or 8 bits (bitsandbytes), quantised while loading or in the checkpoint already.

As in QLoRA (Dettmers et al. 2023), the base model is quantised, and adapters are trained in float32.
"""

import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal, get_args

import torch
from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

from ia2.errors import FieldError, InputError

Bits = Literal["4bit", "8bit"]
"""Ways to quantise weights while loading: NF4 with double quantisation (QLoRA), or LLM.int8()."""
LIBRARY = "bitsandbytes"


def quantisation_of(network: PreTrainedModel) -> str | None:
    """Return a network's quantisation: `4bit`, `8bit` or another method's name; None for plain weights."""
    # a network that transformers dequantised while loading has no quantiser, but keeps its configuration
    return quantisation_in(network.config) if getattr(network, "hf_quantizer", None) is not None else None


def quantisation_in(config: PreTrainedConfig) -> str | None:
    """Return the quantisation that a checkpoint's configuration states; None for plain weights.

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
    """Return transformers' configuration to quantise a checkpoint's weights while loading.

    Args:
        asked: 4bit or 8bit; None for the weights as they are.
        config: the checkpoint's configuration.
        dtype: dtype of products with 4-bit weights.
        name: the model's name in errors.

    Returns:
        None if the weights stay as they are in the checkpoint.

    Raises:
        FieldError: `asked` is unknown, the weights are quantised differently already, or the library isn't installed.
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
    # it warns at every 8-bit product that activations are rounded to float16; `quantisation_notes` says so once
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


def keep_differentiable(network: PreTrainedModel) -> None:
    """Keep 4-bit weights in the format whose products have gradients.

    On CPUs with bfloat16 instructions bitsandbytes repacks them at the first pass without gradients, for a kernel that
    has no backward pass.
    """
    for module in network.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False


def quantisation_notes(network: PreTrainedModel, name: str, asked: str | None) -> tuple[str, ...]:
    """Return a one-sentence note on quantised weights; empty for plain ones."""
    quantisation = quantisation_of(network)
    if quantisation is None:
        return ()
    why = "as asked" if asked is not None else "as its checkpoint has them"
    products = "; products of 8 bits round activations to float16" if quantisation == "8bit" else ""
    return (f"Model {name}: weights are quantised ({quantisation}, {why}), and adapters are not{products}.",)


def check_plain_weights(network: PreTrainedModel, what: str, instead: str) -> None:
    """Refuse a network whose weights are quantised or offloaded, for operations that need their values.

    Args:
        network: a model.
        what: the operation that needs the weights, as the beginning of a sentence.
        instead: what the user can do instead, as a sentence.

    Raises:
        InputError: the weights are quantised, or not in a device's memory.
    """
    quantisation = quantisation_of(network)
    if quantisation is not None:
        raise InputError(f"{what} the model's own weights, and these are quantised ({quantisation}). {instead}")
    if any(parameter.is_meta for parameter in network.parameters()):
        raise InputError(f"{what} the model's own weights, and some of these aren't in a device's memory. {instead}")
