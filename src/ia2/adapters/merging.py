"""Temporary merging of an adapter into a network's weights, with the rounding of their dtype."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from transformers import PreTrainedModel

from ia2.adapters.adapter import Adapter, adapted, attached
from ia2.adapters.registry import effect_of
from ia2.adapters.shift import Shifted
from ia2.errors import FieldError
from ia2.models.load import LanguageModel
from ia2.models.quantised import check_plain_weights
from ia2.models.reader import Reader

Weights = Literal["adapters", "merged", "merged-bfloat16"]
"""Whether adapters run beside the weights, or merged into them, rounded to the weights' dtype or to bfloat16."""
MERGED = ("lora", "ia3", "vera")
"""Kinds in PEFT that only change weight matrices."""


def check_merges(kind: str) -> None:
    """Refuse a kind of adapter, by its name in records, that can't be merged into weights.

    Raises:
        FieldError: the kind can't be merged.
    """
    if kind not in MERGED:
        raise FieldError(
            "evaluate", "merged", f"weights take in adapters of kinds {', '.join(MERGED)}, and not {kind}."
        )


@contextmanager
def merged(network: PreTrainedModel, adapter: Adapter, rounding: torch.dtype | None = None) -> Iterator[None]:
    """Run the network with an adapter merged into its weights, as PEFT's `merge_and_unload` does.

    The update is rounded to the weights' dtype and added in it, so part of a small update is lost in bfloat16. The
    weights are restored bit by bit on leaving the block.

    Args:
        network: the frozen network.
        adapter: an adapter of a kind that changes weight matrices.
        rounding: dtype to which the changed weights are rounded, before and after the update; by default their own.

    Raises:
        FieldError: the adapter is of another kind.
        InputError: the adapter was made for another network, or the network's weights are quantised.

    Example:
        >>> adapter = fresh_adapter(model.network, LoRA(rank=2).configuration(model.network), seed=0)
        >>> with merged(model.network, adapter):
        ...     evaluation = evaluate(model, task.evaluation[:4], task)
    """
    check_merges("shift" if isinstance(effect_of(adapter.configuration), Shifted) else adapter.as_record(None)["kind"])
    check_plain_weights(network, "an adapter is merged into", "Run the adapter beside them (evaluate: adapters).")
    with attached(network, adapter) as model:
        layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
        changed_weights = [parameter for layer in layers for parameter in layer.get_base_layer().parameters()]
        saved_weights = [(parameter, parameter.data, parameter.detach().clone()) for parameter in changed_weights]
        try:
            for parameter, storage, _ in saved_weights:
                parameter.data = storage.to(rounding or storage.dtype)
            model.merge_adapter()
            for parameter, storage, _ in saved_weights:
                parameter.data = parameter.data.to(storage.dtype)
            yield
        finally:
            for layer in layers:
                layer.merged_adapters = []  # otherwise PEFT would subtract the update, and round again
            for parameter, storage, values in saved_weights:
                parameter.data = storage
                storage.copy_(values)


@contextmanager
def read_with(model: LanguageModel, adapter: Adapter | None, *, weights: Weights = "adapters") -> Iterator[Reader]:
    """Yield a reader with an adapter, merged into the weights or beside them; with None, of the model alone.

    Raises:
        InputError: as `merged` and `adapted`.
    """
    if adapter is not None and weights != "adapters":
        with merged(model.network, adapter, torch.bfloat16 if weights == "merged-bfloat16" else None):
            yield Reader(model.network)
        return
    with adapted(model, [] if adapter is None else [adapter]) as reader:
        yield reader
