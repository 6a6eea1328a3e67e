"""Offloaded weights in training: fetched again in the backward pass instead of kept since the forward pass.

accelerate fetches a layer's weights from CPU memory or disk for each forward call and frees them afterwards. A linear
module's gradient with respect to its input needs the weights again, so autograd would keep all fetched weights: the
whole model. Here autograd saves only where to fetch them from.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers import PreTrainedModel

from ia2.models.linear_modules import features
from ia2.models.quantised import quantisation_of


@dataclass(frozen=True)
class _Elsewhere:
    """A view of a module's weight that autograd needs in the backward pass."""

    hook: Any
    """accelerate's hook, which fetches the weight."""
    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    def fetched(self) -> Tensor:
        """Fetch the weight again, and return the same view of it."""
        weights: Tensor = self.hook.weights_map["weight"].to(device=self.hook.execution_device, dtype=self.dtype)
        return weights.contiguous().as_strided(self.size, self.stride)


def fetch_again_in_backward(network: PreTrainedModel) -> None:
    """Make autograd save no offloaded weights of linear modules; results are the same.

    Quantised weights are still saved, and so are those of experts, which share one tensor.

    Args:
        network: dispatched over devices by accelerate; unchanged if none of it is offloaded.
    """
    if quantisation_of(network) is not None:
        return
    for module in network.modules():
        attached: Any = vars(module).get("_hf_hook")
        # a module may have several hooks in sequence
        hooks = [hook for hook in getattr(attached, "hooks", (attached,)) if getattr(hook, "offload", False)]
        if hooks and features(module) is not None:
            # accelerate calls this between fetching the weights and freeing them
            held: dict[str, Any] = vars(module)
            held["_old_forward"] = _holding_none(module, hooks[0], held["_old_forward"])


def _holding_none(module: nn.Module, hook: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
    def pack(tensor: Tensor) -> Tensor | _Elsewhere:
        weight: Any = module.weight
        is_weight = tensor.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
        if is_weight and weight.is_contiguous() and tensor.storage_offset() == weight.storage_offset():
            return _Elsewhere(hook, tensor.size(), tensor.stride(), tensor.dtype)
        return tensor

    def unpack(packed: Tensor | _Elsewhere) -> Tensor:
        return packed.fetched() if isinstance(packed, _Elsewhere) else packed

    def run(*arguments: Any, **keywords: Any) -> Any:
        with saved_tensors_hooks(pack, unpack):
            return forward(*arguments, **keywords)

    return run
