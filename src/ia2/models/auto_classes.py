"""Which of transformers' classes loads a decoder: that of causal language models, or that of wrappers around one."""

from typing import Any

from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    PreTrainedConfig,
)


def auto_class_of(config: PreTrainedConfig) -> Any:
    """The class whose `from_pretrained` and `from_config` make a network of this configuration; None where none does.

    Multimodal checkpoints, such as Qwen-VL's, are loaded whole. Their text decoder is what is read and adapted, so that
    adapters name its modules as they are in the checkpoint.

    Args:
        config: a model's configuration.
    """
    if config.is_encoder_decoder:
        return None
    if type(config) in MODEL_FOR_CAUSAL_LM_MAPPING:
        return AutoModelForCausalLM
    return AutoModelForImageTextToText if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING else None
