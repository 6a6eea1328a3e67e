"""Conversations in a model's own chat template, the same whatever the day, and the special tokens that mark them."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from jinja2 import TemplateError

from ia2.errors import FieldError

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
        FieldError: the chat template refuses these turns, such as a system message.
    """
    template = _CLOCK + tokenizer.get_chat_template()
    try:
        text: str = tokenizer.apply_chat_template(
            list(turns), chat_template=template, tokenize=False, add_generation_prompt=asks
        )
    except TemplateError as error:
        raise FieldError("chat", None, f"this model's chat template refuses the prompt ({error}).") from error
    return text


def special_tokens(tokenizer: Any) -> dict[str, int]:
    """The tokens of transformers' tokenizer that mark what a text is, not what it says, by how they are written."""
    return {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}


def turn_end(tokenizer: Any) -> int | None:
    """The special token that ends the assistant's turn in the tokenizer's chat template; None where none does.

    It is the first one behind what the assistant said: others may follow, as Phi-3's template ends the whole text too.

    Raises:
        FieldError: the chat template refuses a question and its answer.
    """
    answer = "This is the answer."
    turns = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": answer}]
    _, matched, behind = conversation(tokenizer, turns, asks=False).rpartition(answer)
    tokens = special_tokens(tokenizer).items()
    # where one special token begins another, the longer one is meant
    places = [(behind.index(text), -len(text), token) for text, token in tokens if text in behind]
    return min(places)[2] if matched and places else None
