"""An adapter merged into a network's own weights for a while, with the rounding of their dtype."""

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
"""Whether adapters run beside the network's weights, or merged into them, rounded to their own dtype or to bfloat16."""
MERGED = ("lora", "ia3", "vera")
"""PEFT's kinds that change matrices alone."""


def check_merges(kind: str) -> None:
    """Refuse a kind of adapter, by its name in records, that weights can't take in.

    Raises:
        FieldError: it is of another kind.
    """
    if kind not in MERGED:
        raise FieldError(
            "evaluate", "merged", f"weights take in adapters of kinds {', '.join(MERGED)}, and not {kind}."
        )


@contextmanager
def merged(network: PreTrainedModel, adapter: Adapter, rounding: torch.dtype | None = None) -> Iterator[None]:
    """Run the network with an adapter in its weights, as PEFT's `merge_and_unload` leaves it.

    The update is rounded to the weights' dtype and added in it, so that of a small one in bfloat16 a part is lost. All
    is as it was, every bit, when the block is left.

    Args:
        network: the frozen network.
        adapter: of a kind that changes matrices.
        rounding: the dtype that changed weights, with and without the update, are rounded to; by default their own.

    Raises:
        FieldError: it is of another kind.
        InputError: it was made for another network, or the network's weights are quantised.

    Example:
        >>> adapter = fresh_adapter(model.network, LoRA(rank=2).configuration(model.network), seed=0)
        >>> with merged(model.network, adapter):
        ...     evaluation = evaluate(model, task.evaluation[:4], task)
    """
    check_merges("shift" if isinstance(effect_of(adapter.configuration), Shifted) else adapter.as_record(None)["kind"])
    check_plain_weights(network, "an adapter is merged into", "Run the adapter beside them (evaluate: adapters).")
    with attached(network, adapter) as model:
        layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
        changed = [parameter for layer in layers for parameter in layer.get_base_layer().parameters()]
        before = [(parameter, parameter.data, parameter.detach().clone()) for parameter in changed]
        try:
            for parameter, storage, _ in before:
                parameter.data = storage.to(rounding or storage.dtype)
            model.merge_adapter()
            for parameter, storage, _ in before:
                parameter.data = parameter.data.to(storage.dtype)
            yield
        finally:
            for layer in layers:
                layer.merged_adapters = []  # else PEFT would subtract what was added, and round again
            for parameter, storage, values in before:
                parameter.data = storage
                storage.copy_(values)


@contextmanager
def read_with(model: LanguageModel, adapter: Adapter | None, *, weights: Weights = "adapters") -> Iterator[Reader]:
    """Read with an adapter, merged into the weights or beside them; with None, the model as it is.

    Raises:
        InputError: as `merged` and `adapted`.
    """
    if adapter is not None and weights != "adapters":
        with merged(model.network, adapter, torch.bfloat16 if weights == "merged-bfloat16" else None):
            yield Reader(model.network)
        return
    with adapted(model, [] if adapter is None else [adapter]) as reader:
        yield reader
