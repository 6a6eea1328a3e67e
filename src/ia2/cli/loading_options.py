"""What the commands that load a model can be told of how; the docstring of every field is its help."""

from dataclasses import dataclass, fields
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How a model is loaded."""

    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """Instead of what suits the device."""
    device: str | None = None
    """cpu, cuda, cuda:1, … or mps, instead of what is found: a GPU of CUDA, else the CPU. auto spreads a model over all
    GPUs, the CPU's memory and the disk."""
    load: Literal["4bit", "8bit"] | None = None
    """Quantise the model's weights, adapters staying as they are (QLoRA). This needs pip install 'ia2[quantized]'."""
    attention: Literal["eager", "sdpa", "flash_attention_2", "flash_attention_3"] | None = None
    """How attention is computed, instead of what transformers chooses for the model."""


def loading_of(options: Loading) -> dict[str, Any]:
    """What `load_model` is told, by the names of its arguments.

    Example:
        >>> loading_of(Loading(device="cpu"))
        {'dtype': None, 'device': 'cpu', 'load': None, 'attention': None}
    """
    return {option.name: getattr(options, option.name) for option in fields(Loading)}
