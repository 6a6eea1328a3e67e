"""Choice of transformers' auto class for a decoder: causal language model, or multimodal model around one."""

from typing import Any

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
)


def auto_class_of(config: PreTrainedConfig) -> Any:
    """Return the auto class that builds a network of this configuration; None if there is none.

    Multimodal checkpoints, such as Qwen-VL's, are loaded whole, and their text decoder is run and adapted. So adapters
    name its modules as the checkpoint does.

    Args:
        config: a model's configuration.
    """
    if config.is_encoder_decoder:
        return None
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    return AutoModelForImageTextToText if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING else None
