"""Export merged weights: the base model with an adapter's updates added to its matrices, which loads without PEFT."""

from pathlib import Path

from peft import set_peft_model_state_dict

from ia2.adapters.adapter import OTHER_MODULES, OTHER_SHAPES, Adapter
from ia2.adapters.configuration import NOT_RUN, check_patterns
from ia2.adapters.injection import peft_model
from ia2.adapters.registry import effect_of
from ia2.adapters.shift import Shifted
from ia2.cache import check_absent_or_empty, folder_written_whole
from ia2.errors import FieldError, InputError
from ia2.models.gguf import quiet
from ia2.models.load import LanguageModel
from ia2.models.quantised import check_plain_weights

MERGED = ("lora", "ia3", "vera")
"""PEFT's kinds that change only weight matrices; full fine-tuning is a `lora` with modules saved whole."""


def check_mergeable(adapter: Adapter, folder: Path) -> None:
    """Refuse an adapter that can't be merged into the model's matrices, and a folder that isn't empty.

    Raises:
        InputError: the adapter's kind can't be merged, or the folder exists and isn't empty.
    """
    check_absent_or_empty(folder)
    kind = adapter.as_record(None)["kind"]
    if adapter.configuration.is_prompt_learning:
        raise FieldError(
            "merged",
            None,
            f"adapters of PEFT's kind {kind} put virtual tokens before a text, which weights can't hold. "
            "Serve the adapter with PEFT.",
        )
    unusual = [setting for setting in NOT_RUN if getattr(adapter.configuration, setting, None) is not None]
    effect = effect_of(adapter.configuration)
    if kind not in MERGED or unusual or isinstance(effect, Shifted | None):
        raise FieldError(
            "merged",
            None,
            f"adapters of PEFT's kind {kind} with these settings can't be merged here. Merge the adapter "
            "with PEFT, by merge_and_unload.",
        )


def export_merged(adapter: Adapter, model: LanguageModel, folder: Path) -> None:
    """Merge an adapter and write the model in the hub's format: safetensors, configuration and tokenizer.

    Args:
        adapter: an adapter of a mergeable kind.
        model: the base model; its network is modified and must not be used afterwards.
        folder: the output folder, absent or empty; written atomically.

    Raises:
        InputError: the adapter can't be merged or was made for another model, the base weights are quantised or
            offloaded, or the folder isn't empty.
    """
    check_mergeable(adapter, folder)
    check_plain_weights(
        model.network, "an adapter is merged into", "Name the checkpoint that they were quantised from."
    )
    check_patterns(model.network, adapter.configuration)
    effect = effect_of(adapter.configuration)
    assert effect is not None, "it was checked"
    expected = effect.shapes(model.network, adapter.configuration) or {}
    shapes = {name: tensor.shape for name, tensor in adapter.weights.items() if name not in effect.shared}
    if expected.keys() != shapes.keys():
        raise InputError(OTHER_MODULES)
    if dict(expected) != shapes:
        raise InputError(OTHER_SHAPES)
    with folder_written_whole(folder) as partial, quiet():
        merging = peft_model(model.network, adapter.configuration)
        set_peft_model_state_dict(merging, dict(adapter.weights))
        merging.merge_and_unload().save_pretrained(partial)
        model.tokenizer.save_pretrained(partial)
