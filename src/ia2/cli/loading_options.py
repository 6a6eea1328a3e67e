"""The options of all commands that load a model; the docstring of every field is its help."""

from dataclasses import dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a model is loaded."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """dtype of the weights (default: float32 on a CPU, bfloat16 on a GPU)."""
    device: str | None = None
    """cpu, cuda, cuda:1, … or mps (default: a CUDA GPU if there is one, otherwise the CPU). auto spreads a model over
    all GPUs, the CPU's memory and the disk."""
    load: Literal["4bit", "8bit"] | None = None
    """Quantise the model's weights, but not the adapters (QLoRA). This needs pip install 'ia2[quantized]'."""
    attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3"] | None = None
    """Attention implementation (default: what transformers chooses for the model)."""


def loading_of(options: Loading) -> dict[str, Any]:
    """Return the keyword arguments for `load_model`.

    Example:
        >>> loading_of(Loading(device="cpu"))
        {'dtype': None, 'device': 'cpu', 'load': None, 'attention': None}
    """
    return {option.name: getattr(options, option.name) for option in fields(Loading)}
