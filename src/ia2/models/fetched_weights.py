"""Weights of a spread model that a training step doesn't hold: they are fetched again in its backward pass.

Where a layer's weights lie in memory or on disk, accelerate fetches them each time the layer runs, and lets them go
behind it. A linear module's gradient towards its input needs its weights once more, so that autograd would hold all
that were fetched until then, which is the whole model. Here it holds where they are to be fetched from.
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
    """A view of a module's weights that autograd needs in the backward pass."""

    hook: Any
    """Accelerate's hook, which fetches the weights."""
    size: torch.Size
    stride: tuple[int, ...]
    dtype: torch.dtype

    def fetched(self) -> Tensor:
        """The same view of the weights, fetched again."""
        weights: Tensor = self.hook.weights_map["weight"].to(device=self.hook.execution_device, dtype=self.dtype)
        return weights.contiguous().as_strided(self.size, self.stride)


def fetch_again_in_backward(network: PreTrainedModel) -> None:
    """Have autograd hold no weights of linear modules that are fetched each time they run; results are the same.

    Quantised weights, and those of experts, which stand together in one tensor, are held as before.

    Args:
        network: spread over devices by accelerate; where nothing of it is fetched, nothing changes.
    """
    if quantisation_of(network) is not None:
        return
    for module in network.modules():
        attached: Any = vars(module).get("_hf_hook")
        # a module may have several, one after the other
        hooks = [hook for hook in getattr(attached, "hooks", (attached,)) if getattr(hook, "offload", False)]
        if hooks and features(module) is not None:
            # what accelerate calls between fetching the weights and letting them go
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
