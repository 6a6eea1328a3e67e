"""A folder's files become a network and a tokenizer: what transformers is told, and what it says in a sentence."""

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
from ia2.models.gguf import first_line
from ia2.models.names import check_shards
from ia2.models.placement import DTYPES, Placement
from ia2.models.quantised import quantisation_for, quantisation_in

MOST_LAYERS = 10_000
"""Layers of a network at most; the deepest that is in use has a few hundred."""


def read_network(
    folder: Path, placement: Placement, name: str, load: str | None = None, attention: str | None = None
) -> PreTrainedModel:
    """The network of a folder in the hub's layout, where it is to be and as it is to be.

    Args:
        folder: where its files are.
        placement: its device or devices, and its dtype.
        name: what an error calls the model.
        load: whether its weights are quantised.
        attention: how it attends, as transformers calls it; None for what transformers chooses.

    Raises:
        InputError: it is no causal language model, or can't be read.
        FieldError: it can't be quantised so, or can't attend so.
    """
    config = read_model_configuration(folder, name)
    check_shards(folder)
    _check_layers(config, name)
    asked = getattr(config, "_attn_implementation", None)
    if attention is None and isinstance(asked, str) and "/" in asked:
        raise InputError(
            f"{name}: its config.json asks for attention kernels of {asked}, which are code and aren't run."
        )
    auto_class = auto_class_of(config)
    if auto_class is None:
        raise InputError(f"{name}: {config.model_type} is not a decoder-only language model.")
    settings: dict[str, Any] = {}
    if (quantisation := quantisation_for(load, config, DTYPES[placement.dtype], name)) is not None:
        settings["quantization_config"] = quantisation
    if attention is not None:
        settings["attn_implementation"] = attention
    # quantised weights are made where they stay
    placed = placement.is_spread or quantisation is not None or quantisation_in(config) is not None
    if placed:
        settings["device_map"] = placement.device_map
    if not placement.is_spread:
        network = _from_pretrained(auto_class, folder, config, placement, name, settings)
        return network if placed else network.to(placement.device)
    # what no device has room for is written here, unless it can be read where it is
    offloaded = tempfile.mkdtemp(prefix="ia2-")
    try:
        network = _from_pretrained(
            auto_class, folder, config, placement, name, {**settings, "offload_folder": offloaded}
        )
    except BaseException:
        shutil.rmtree(offloaded, ignore_errors=True)
        raise
    weakref.finalize(network, shutil.rmtree, offloaded, ignore_errors=True)
    return network


def read_model_configuration(source: Path | str, name: str) -> PreTrainedConfig:
    """A model's configuration, for which no code of the model's own is ever run.

    Args:
        source: its folder, or the hub's id.
        name: what an error calls the model.

    Raises:
        InputError: it can't be read.
    """
    try:
        return AutoConfig.from_pretrained(source, trust_remote_code=False)
    except Exception as error:  # of values that make no sense each family's code breaks in its own way
        raise InputError(f"{name}: its config.json can't be read ({first_line(error)}).") from error


def _check_layers(config: PreTrainedConfig, name: str) -> None:
    """Refuse a number of layers that nobody has, before so many are built."""
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
    except Exception as error:  # safetensors and transformers raise kinds of their own for damaged weights
        attention = settings.get("attn_implementation")
        if attention is not None and isinstance(error, ValueError | ImportError):
            rule = f"{name} can't attend like this here ({first_line(error)}); leave it out."
            raise FieldError("attention", attention, rule) from error
        raise InputError(f"{name}: its weights can't be loaded ({first_line(error)}).") from error
    if absent := sorted(loading_info["missing_keys"]):
        # transformers would fill them with random numbers
        raise InputError(f"{name}: {len(absent)} of its weights are missing, {absent[0]} among them.")
    return network


def read_tokenizer(folder: Path, name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder. Raises InputError where it can't be loaded.

    Args:
        folder: where its files are.
        name: what an error calls the model.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # tokenizers raise kinds of their own for damaged files
        raise InputError(f"{name}: its tokenizer can't be loaded ({first_line(error)}).") from error
    return tokenizer


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 (hexadecimal) of what turns texts and conversations into tokens, the chat template included."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend is not None else {"vocabulary": tokenizer.get_vocab()}
    # these two are those of the last call
    rules = {name: rule for name, rule in rules.items() if name not in ("padding", "truncation")}
    content = [rules, tokenizer.special_tokens_map, tokenizer.chat_template]
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
