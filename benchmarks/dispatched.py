"""What a piece of work asks of a device: operations that it dispatches, and how often it waits for an answer.

On a GPU each operation is a kernel to be launched, and each answer waits for all that was launched before. Both can be
counted on a CPU.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = frozenset(
    {"_local_scalar_dense", "nonzero", "nonzero_static", "masked_select", "equal", "is_nonzero", "_unique2"}
    | {"unique_consecutive", "unique_dim", "bincount"}
)
"""Operations whose result, or its shape, has to be known before anything else can be done."""
READ_BACK = frozenset({"tolist", "cpu", "numpy", "__array__"})
"""What copies numbers to where Python can see them, and isn't dispatched where they already are."""
VIEWS = frozenset(
    {"view", "_unsafe_view", "t", "transpose", "permute", "slice", "select", "expand", "unsqueeze", "squeeze"}
    | {"detach", "alias", "as_strided", "split", "split_with_sizes", "unbind", "unfold", "_reshape_alias", "diagonal"}
    | {"lift_fresh", "unsafe_split", "chunk"}
)
"""Operations that compute nothing: another look at the same numbers."""


class Dispatched(TorchDispatchMode):
    """Counts what is dispatched while a block runs, gradients included."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        """How often each operation that computes something was dispatched."""
        self.waits: Counter[str] = Counter()
        """How often the work waited for an answer, by the operation that asked."""
        self._functions = _ReadBack(self.waits)

    def __enter__(self) -> "Dispatched":
        """Begin to count."""
        self._functions.__enter__()
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Stop counting."""
        super().__exit__(*error)
        self._functions.__exit__(*error)

    def __torch_dispatch__(
        self,
        function: Any,
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        """Count one operation."""
        del types
        name = function.overloadpacket.__name__
        if name in WAITING or (name in ("index", "index_put", "index_put_") and _has_truth_values(arguments[1])):
            self.waits[name] += 1
        if name not in VIEWS:
            self.operations[name] += 1
        return function(*arguments, **(keywords or {}))


class _ReadBack(TorchFunctionMode):
    """Counts what copies numbers to where Python can see them."""

    def __init__(self, waits: Counter[str]) -> None:
        super().__init__()
        self.waits = waits

    def __torch_function__(
        self,
        function: Any,
        types: Sequence[type],
        arguments: Sequence[Any] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        """Look at one call."""
        del types
        name = getattr(function, "__name__", "")
        if name in READ_BACK:
            self.waits[name] += 1
        return function(*arguments, **(keywords or {}))


def _has_truth_values(indices: Sequence[Tensor | None]) -> bool:
    return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)


def dispatched(work: Callable[[], Any]) -> Dispatched:
    """What a piece of work dispatches."""
    with Dispatched() as counted:
        work()
    return counted
