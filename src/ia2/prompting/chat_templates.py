"""Renders conversations in a model's chat template, independent of the date, and finds their special tokens."""

from collections.abc import Sequence
from datetime import date
from typing import Any, NamedTuple

from ia2.errors import FieldError
from ia2.prompting.rendering import TemplateError, UnboundedTemplateError, rendered

PATIENCE = 5
"""Time limit of a template per conversation, in seconds; common ones take a few milliseconds."""

TODAY = date(2024, 7, 26)
"""Date given to every template, so that prompts never change; Llama 3's default when it has no clock."""
# macro that shadows the clock transformers gives to templates; a function passed as a variable would arrive as text
_CLOCK = (
    "{%- macro strftime_now(format) -%}{{ format"
    + "".join(f"|replace('%{part}', '{TODAY.strftime('%' + part)}')" for part in "aAbBdHIjmMpSyY")
    + " }}{%- endmacro %}\n"
)


def tells_the_day(tokenizer: Any) -> bool:
    """Return whether the tokenizer's chat template uses the current date."""
    return "strftime_now" in tokenizer.get_chat_template()


def conversation(tokenizer: Any, turns: Sequence[dict[str, str]], *, asks: bool = True) -> str:
    """Return the text of a conversation.

    Args:
        tokenizer: transformers' tokenizer, with a chat template.
        turns: the turns, each with its role and content.
        asks: whether to add the start of the assistant's next turn.

    Raises:
        FieldError: the chat template refuses these turns, such as a system message, or exceeds its time or memory
            limit.
    """
    # enable_thinking turns off the thoughts of reasoning models; other templates ignore it
    variables = {**tokenizer.special_tokens_map, "add_generation_prompt": asks, "enable_thinking": False}
    try:
        return rendered(_CLOCK + tokenizer.get_chat_template(), turns, variables, seconds=PATIENCE)
    except UnboundedTemplateError as error:
        raise FieldError("chat", None, f"this model's chat template {error}. Use another model.") from error
    except TemplateError as error:
        raise FieldError("chat", None, f"this model's chat template refuses the prompt ({error}).") from error


def takes_system(tokenizer: Any) -> bool:
    """Return whether the tokenizer's chat template supports system turns; Gemma's refuses them."""
    said = "This is said first."
    turns = [{"role": "system", "content": said}, {"role": "user", "content": "What is it?"}]
    try:
        return said in conversation(tokenizer, turns)
    except FieldError as error:
        if isinstance(error.__cause__, UnboundedTemplateError):
            raise
        return False


class AnswerOpening(NamedTuple):
    """The difference between a chat template's generation prompt and its text before a given answer."""

    removed: str
    """End of the generation prompt that is absent before an answer, such as `<think>`."""
    added: str
    """Text before an answer that the generation prompt lacks, such as an empty thought or a channel's name."""

    def before_answer(self, asked: str) -> str:
        """Return the generation prompt, changed to the text before an answer."""
        return asked.removesuffix(self.removed) + self.added


def answer_opening(tokenizer: Any) -> AnswerOpening:
    """Return how to change the generation prompt, so that answers are trained and scored where the template has them.

    The templates of reasoning models may open a thought in the generation prompt, where a label doesn't belong.

    Raises:
        FieldError: the template's answered turn doesn't match its generation prompt.
    """
    question, answer = {"role": "user", "content": "What is it?"}, "This is the answer."
    asked = conversation(tokenizer, [question])
    turns = [question, {"role": "assistant", "content": answer}]
    answered, matched, _ = conversation(tokenizer, turns, asks=False).rpartition(answer)
    # differences in white space are handled at the tokenizer's boundary
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
    """Return the ids of the tokenizer's special tokens that mark structure, by their text."""
    return {token.content: number for number, token in tokenizer.added_tokens_decoder.items() if token.special}


def turn_end(tokenizer: Any) -> int | None:
    """Return the special token that ends the assistant's turn in the chat template; None if there is none.

    It is the first special token after the assistant's text. Others may follow: Phi-3's template also ends the whole
    text.

    Raises:
        FieldError: the chat template refuses a question with its answer.
    """
    answer = "This is the answer."
    turns = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": answer}]
    _, matched, behind = conversation(tokenizer, turns, asks=False).rpartition(answer)
    tokens = special_tokens(tokenizer).items()
    # if one special token is a prefix of another, take the longer one
    places = [(behind.index(text), -len(text), token) for text, token in tokens if text in behind]
    return min(places)[2] if matched and places else None
