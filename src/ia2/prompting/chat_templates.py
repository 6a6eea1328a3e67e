"""Conversations in a model's own chat template, the same whatever the day, and the special tokens that mark them."""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from ia2.errors import FieldError
from ia2.prompting.rendering import TemplateError, UnboundedTemplateError, rendered

PATIENCE = 5
"""Seconds that a template may take for a conversation; those in use take a few milliseconds."""

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
        FieldError: the chat template refuses these turns, such as a system message, or goes beyond its time or memory.
    """
    # templates of models that think aloud know the last of these; to others it means nothing
    variables = {**tokenizer.special_tokens_map, "add_generation_prompt": asks, "enable_thinking": False}
    try:
        return rendered(_CLOCK + tokenizer.get_chat_template(), turns, variables, seconds=PATIENCE)
    except UnboundedTemplateError as error:
        raise FieldError("chat", None, f"this model's chat template {error}. Use another model.") from error
    except TemplateError as error:
        raise FieldError("chat", None, f"this model's chat template refuses the prompt ({error}).") from error


def takes_system(tokenizer: Any) -> bool:
    """Whether the tokenizer's chat template writes what a system turn says; Gemma's refuses it."""
    said = "This is said first."
    turns = [{"role": "system", "content": said}, {"role": "user", "content": "What is it?"}]
    try:
        return said in conversation(tokenizer, turns)
    except FieldError as error:
        if isinstance(error.__cause__, UnboundedTemplateError):
            raise
        return False


class AnswerOpening(NamedTuple):
    """How a chat template's text that asks for an answer differs from the one that stands before a given answer."""

    removed: str
    """What ends the text that asks and doesn't stand before an answer, such as `<think>`."""
    added: str
    """What stands before an answer and isn't asked with, such as an empty thought, or the name of a channel."""

    def before_answer(self, asked: str) -> str:
        """The text that asks, as it stands before an answer."""
        return asked.removesuffix(self.removed) + self.added


def answer_opening(tokenizer: Any) -> AnswerOpening:
    """What to change of the text that asks, so that an answer is taught and scored where the template puts it.

    The templates of models that reason may ask with an open thought, in which no label belongs.

    Raises:
        FieldError: the template writes an answered turn otherwise than it asks for one.
    """
    question, answer = {"role": "user", "content": "What is it?"}, "This is the answer."
    asked = conversation(tokenizer, [question])
    turns = [question, {"role": "assistant", "content": answer}]
    answered, matched, _ = conversation(tokenizer, turns, asks=False).rpartition(answer)
    # white space alone is for the tokenizer's boundary to settle
    if not matched or asked.rstrip() == answered.rstrip():
        return AnswerOpening("", "")
    if answered.startswith(asked):
        return AnswerOpening("", answered[len(asked) :])
    if asked.startswith(answered.rstrip()) and "<think>" in asked[len(answered.rstrip()) :]:
        return AnswerOpening(asked[len(answered) :], "")
    raise FieldError(
        "chat",
        None,
        f"this model's chat template asks for an answer after …{asked[-30:]!r}, but writes an answer after "
        f"…{answered[-30:]!r}, so training and use would differ. Leave it out, or use another model.",
    )


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
