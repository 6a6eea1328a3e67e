"""Loading of networks and tokenizers from a folder through transformers, with its errors in one sentence."""

import hashlib
import json
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoTokenizer, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from ia2.errors import FieldError, InputError
from ia2.models.auto_classes import auto_class_of
from ia2.models.fetched_weights import fetch_again_in_backward
from ia2.models.gguf import check_no_weight_missing, first_line
from ia2.models.names import check_shards
from ia2.models.placement import DTYPES, Placement
from ia2.models.quantised import keep_differentiable, quantisation_for, quantisation_in

MOST_LAYERS = 10_000
"""Maximum number of layers; the deepest networks in use have a few hundred."""


def read_network(
    folder: Path, placement: Placement, name: str, load: str | None = None, attention: str | None = None
) -> PreTrainedModel:
    """Load the network of a folder in the hub's layout, in the given dtype and on the given device.

    Args:
        folder: the model's folder.
        placement: device or devices, and dtype.
        name: the model's name in errors.
        load: 4bit or 8bit to quantise the weights; None to leave them as they are.
        attention: transformers' name of the attention implementation; None for its own choice.

    Raises:
        InputError: it isn't a causal language model, or can't be read.
        FieldError: the quantisation or the attention isn't available for it.
    """
    config = read_model_configuration(folder, name)
    check_shards(folder)
    _check_layers(config, name)
    configured = getattr(config, "_attn_implementation", None)
    if attention is None and isinstance(configured, str) and "/" in configured:
        raise InputError(
            f"{name}: its config.json asks for attention kernels of {configured}, which are code and aren't run."
        )
    auto_class = auto_class_of(config)
    if auto_class is None:
        raise InputError(f"{name}: {config.model_type} is not a decoder-only language model.")
    settings: dict[str, Any] = {}
    if (quantisation := quantisation_for(load, config, DTYPES[placement.dtype], name)) is not None:
        settings["quantization_config"] = quantisation
    if attention is not None:
        settings["attn_implementation"] = attention
    # quantised weights must be created on their final device
    placed = placement.is_spread or quantisation is not None or quantisation_in(config) is not None
    if placed:
        settings["device_map"] = placement.device_map
    if not placement.is_spread:
        network = _from_pretrained(auto_class, folder, config, placement, name, settings)
        return network if placed else network.to(placement.device)
    # weights that fit on no device are offloaded here, unless they can be read from the checkpoint
    offloaded = tempfile.mkdtemp(prefix="ia2-")
    try:
        network = _from_pretrained(
            auto_class, folder, config, placement, name, {**settings, "offload_folder": offloaded}
        )
    except BaseException:
        shutil.rmtree(offloaded, ignore_errors=True)
        raise
    weakref.finalize(network, shutil.rmtree, offloaded, ignore_errors=True)
    fetch_again_in_backward(network)
    return network


def read_model_configuration(source: Path | str, name: str) -> PreTrainedConfig:
    """Return a model's configuration, without ever running code of the model's repository.

    Args:
        source: the model's folder or hub id.
        name: the model's name in errors.

    Raises:
        InputError: the configuration can't be read.
    """
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # each family's code fails differently on invalid values
        raise InputError(f"{name}: its config.json can't be read ({first_line(error)}).") from error


def _check_layers(config: PreTrainedConfig, name: str) -> None:
    """Refuse an absurd number of layers before they are built."""
    layers = getattr(config.get_text_config(decoder=True), "num_hidden_layers", None)
    if isinstance(layers, int) and layers > MOST_LAYERS:
        raise InputError(
            f"{name}: its config.json says that there are {layers} layers; at most {MOST_LAYERS} are supported."
        )


def _from_pretrained(
    auto_class: Any, folder: Path, config: Any, placement: Placement, name: str, settings: dict[str, Any]
) -> PreTrainedModel:
    network: PreTrainedModel
    try:
        network, loading_info = auto_class.from_pretrained(
            folder,
            config=config,
            dtype=DTYPES[placement.dtype],
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            **settings,
        )
    except Exception as error:  # safetensors and transformers have their own exceptions for damaged weights
        attention = settings.get("attn_implementation")
        if attention is not None and isinstance(error, ValueError | ImportError):
            rule = f"{name} can't attend like this here ({first_line(error)}); leave it out."
            raise FieldError("attention", attention, rule) from error
        raise InputError(f"{name}: its weights can't be loaded ({first_line(error)}).") from error
    check_no_weight_missing(loading_info, name)
    keep_differentiable(network)
    return network


def read_tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer of a folder. Raises InputError if it can't be loaded.

    Args:
        folder: the model's folder.
        name: the model's name in errors.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # tokenizers has its own exceptions for damaged files
        raise InputError(f"{name}: its tokenizer can't be loaded ({first_line(error)}).") from error
    return tokenizer


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the SHA-256 (hexadecimal) of the tokenizer's rules, special tokens and chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {"vocabulary": tokenizer.get_vocab()}
    # these two only reflect the last call
    rules = {name: rule for name, rule in rules.items() if name not in ("padding", "truncation")}
    content = [rules, tokenizer.special_tokens_map, tokenizer.chat_template]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
