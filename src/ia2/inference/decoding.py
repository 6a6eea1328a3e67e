"""Continuing prompts with text: how long a response may get, and what ends it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ia2.adapters.bank import Bank
from ia2.errors import InputError
from ia2.models.decoding import Decoded, decode
from ia2.models.load import LanguageModel
from ia2.models.prefix import NO_PREFILL, Prefill
from ia2.prompting.chat_templates import special_tokens
from ia2.prompting.prompts import PromptTokenizer
from ia2.tasks.task import Example, Shown, Task


def checked_prompts(
    tokenizer: PromptTokenizer, examples: Sequence[Example], contexts: Sequence[Sequence[Shown]], task: Task
) -> list[tuple[int, ...]]:
    """The tokens of prompts that are to be continued.

    Raises:
        InputError: a prompt, with as many tokens as a response may have, is longer than the model's context.
    """
    prompts = [tokenizer.asked(row.query, context) for row, context in zip(examples, contexts, strict=True)]
    for row, prompt in zip(examples, prompts, strict=True):
        tokenizer.check_length(len(prompt) + task.max_new_tokens, row.query)
    return prompts


def stops_at(tokenizer: PromptTokenizer, stop: str | None) -> Callable[[Sequence[int]], bool]:
    """Whether tokens hold the stop string; it may begin in the middle of one."""
    if stop is None:
        return lambda tokens: False
    # a token has at least one byte, and a character four at the most
    tail = 4 * len(stop) + 1
    return lambda tokens: stop in tokenizer.text(tokens[-tail:])


def stop_token(tokenizer: Any, stop: str | None) -> int | None:
    """The special token that a stop string names, as no text holds it; None for other strings.

    Args:
        tokenizer: transformers' tokenizer.
        stop: the string, if there is one.

    Raises:
        InputError: a special token is but a part of the string, which could never come.
    """
    marks = special_tokens(tokenizer)
    if stop in marks:
        return marks[stop]
    for mark in marks:
        if stop is not None and mark in stop:
            raise InputError(
                f"--stop {stop!r}: a text never holds {mark!r}, a special token of this model; name it alone."
            )
    return None


def end_tokens(model: LanguageModel, tokenizer: PromptTokenizer, stop: str | None) -> frozenset[int]:
    """All tokens that end a response: the model's own, the task's end token, and a stop that is a special token.

    Raises:
        InputError: as `stop_token`.
    """
    named = stop_token(tokenizer.tokenizer, stop)
    return model.end_tokens.union(tokenizer.ending, () if named is None else (named,))


def continued(
    model: LanguageModel,
    prompts: Sequence[tuple[int, ...]],
    task: Task,
    *,
    prefill: Prefill = NO_PREFILL,
    bank: Bank | None = None,
    adapters: Sequence[int] = (),
    batch_size: int,
    record: bool = False,
) -> Iterator[tuple[int, Decoded]]:
    """Continue prompts greedily until an end token, the task's stop string, or as many tokens as it allows.

    See `decode`, which this tells what the task and the model say.
    """
    tokenizer = PromptTokenizer.of(model, task)
    return decode(
        model.network,
        prompts,
        most_tokens=task.max_new_tokens,
        end_tokens=end_tokens(model, tokenizer, task.stop),
        stops=stops_at(tokenizer, task.stop),
        prefill=prefill,
        bank=bank,
        adapters=adapters,
        batch_size=batch_size,
        record=record,
    )
