"""`ia2 export`: conversion of an adapter for other programs and servers."""

from pathlib import Path

from ia2.adapters.adapter import Adapter
from ia2.adapters.export.lora_gguf import check_gguf, export_lora_gguf
from ia2.adapters.export.merged import check_mergeable, export_merged
from ia2.adapters.export.push import push
from ia2.adapters.provenance import Provenance, weights_id
from ia2.cli.console import ConsoleProgress
from ia2.cli.options import Export
from ia2.errors import InputError
from ia2.models.load import load_configuration, load_model
from ia2.models.names import kind_of, path_of


def run_export(options: Export) -> None:
    """Write merged weights or a GGUF file, or push the folder to the hub, and print where it is."""
    adapter = Adapter.load(options.adapter)
    if options.push is not None:
        print(push(options.adapter, options.push, public=options.public))
        return
    taught = Provenance.beside(options.adapter)
    progress = ConsoleProgress()
    if options.gguf is not None:
        check_gguf(adapter, options.gguf)
        base = _base_model(options, adapter, taught)
        progress.say(f"Base model: {base}.")
        config = load_configuration(base, progress=progress)
        export_lora_gguf(adapter, config, options.gguf, name=options.adapter.resolve().name)
        print(
            f"{options.gguf}: the adapter, for llama.cpp (--lora) and Ollama (ADAPTER) beside a GGUF of its base model"
        )
        return
    assert options.merged is not None, "Export has checked that there is a target"
    check_mergeable(adapter, options.merged)
    base = _base_model(options, adapter, taught)
    model = load_model(base, dtype=options.dtype or "float32", device="cpu", progress=progress)
    if taught is not None and taught.weights != weights_id(model):
        progress.say(
            "The adapter was trained on different weights from this model's, so its answers may be meaningless."
        )
    export_merged(adapter, model, options.merged)
    print(f"{options.merged}/: the base model with the adapter merged in, in the hub's layout")


def _base_model(options: Export, adapter: Adapter, taught: Provenance | None) -> str:
    """Return the base model from the options, or from the adapter's folder.

    Raises:
        InputError: the base model isn't known, or its folder is gone.
    """
    if options.model is not None:
        return options.model
    # for a packaged model the hub id gives the full weights, not those that the adapter was trained on
    base: str | None = taught.model if taught is not None and taught.model is not None else None
    base = base or adapter.configuration.base_model_name_or_path
    if not base:
        raise InputError(f"{options.adapter}: its adapter_config.json names no base model. Name it with --model.")
    if kind_of(base) == "folder" and not Path(path_of(base)).exists():
        raise InputError(f"{options.adapter}: its base model {base} is not there. Name it with --model.")
    return base
