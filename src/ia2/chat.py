"""Conversations in a model's own chat template, the same whatever the day."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from jinja2 import TemplateError

from ia2.errors import InputError

TODAY = date(2024, 7, 26)
"""The day it is to every template, so that prompts are the same tomorrow: Llama 3's own where there is no clock."""
# transformers gives templates a clock, which a macro hides; a function among the variables would reach them as a text
_CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f"|replace('%{part}', '{TODAY.strftime('%' + part)}')" for part in "aAbBdHIjmMpSyY")
    + " }}{%- endmacro %}\n"
)


def tells_the_day(tokenizer: Any) -> bool:
    """Whether the chat template of transformers' tokenizer asks what day it is."""
    return "strftime_now" in tokenizer.get_chat_template()


def conversation(tokenizer: Any, turns: Sequence[dict[str, str]], *, asks: bool = True) -> str:
    """The text of a conversation.

    Args:
        tokenizer: transformers' tokenizer, with a chat template.
        turns: each with its role and content.
        asks: whether the text goes on to where the assistant's next turn begins.

    Raises:
        InputError: the chat template refuses these turns, such as a system message.
    """
    template = _CLOCK + tokenizer.get_chat_template()
    try:
        text: str = tokenizer.apply_chat_template(
            list(turns), chat_template=template, tokenize=False, add_generation_prompt=asks
        )
    except TemplateError as error:
        raise InputError(f"--chat: this model's chat template refuses the prompt ({error}).") from error
    return text
