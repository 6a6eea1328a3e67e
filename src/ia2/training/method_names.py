"""Names and one-line descriptions of the built-in methods, in a module that doesn't need the slow import of torch."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from ia2.errors import FieldError

DESCRIPTIONS: Mapping[str, str] = MappingProxyType(
    {
        "sft": "supervised fine-tuning on the rows' own responses",
        "ia2": "alignment of attention outputs with those of in-context learning",
        "ia2-sft": "alignment first, then fine-tuning from there",
        "sft-ia2": "fine-tuning first, then alignment from there",
        "ia2+sft": "alignment and fine-tuning in one loss, weighted by β",
        "ia2+soft": "alignment and matching the teacher's distributions in one loss, weighted by β",
        "sft-long": "fine-tuning for as many steps as ia2-sft",
        "sft-soft": "fine-tuning on the teacher's distributions",
        "context-distillation": "matching the teacher's distributions on unlabelled texts only",
        "ia2-solved": "alignment by ridge regression, in one pass",
        "ia2-solved-ia2": "solved alignment first, then alignment by gradient steps",
        "ia2-solved-sft": "solved alignment first, then fine-tuning from there",
        "mean-shift": "the mean change of attention outputs in context, added at every position",
    }
)


def checked_method_name(name: str) -> str:
    """Return the name if a built-in method has it.

    Raises:
        FieldError: there is no such method; the error suggests the closest name.

    Example:
        >>> checked_method_name("ia2-sft")
        'ia2-sft'
    """
    if name not in DESCRIPTIONS:
        close = difflib.get_close_matches(name, DESCRIPTIONS, n=1)
        hint = f" Did you mean {close[0]}?" if close else ""
        raise FieldError("method", name, f"no such method.{hint} Choose from {', '.join(DESCRIPTIONS)}.")
    return name
