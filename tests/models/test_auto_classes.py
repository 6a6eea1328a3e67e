import pytest
import transformers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

from ia2.models.auto_classes import auto_class_of


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("llama", AutoModelForCausalLM),
        ("gemma3", AutoModelForCausalLM),
        ("qwen2_5_vl", AutoModelForImageTextToText),
        ("mistral3", AutoModelForImageTextToText),
        ("t5", None),
        ("vit", None),
    ],
)
def test_a_decoder_alone_or_in_a_wrapper_has_a_class_and_others_have_none(kind, expected):
    assert auto_class_of(transformers.CONFIG_MAPPING[kind]()) is expected
