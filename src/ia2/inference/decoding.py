"""Continuing prompts with text: how long a response may get, and what ends it."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ia2.errors import FieldError
from ia2.models.decoding import decode
from ia2.models.load import LanguageModel
from ia2.models.reader import Reader
from ia2.models.responses import Decoded, Ending, Limits
from ia2.models.sites import Site
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
        FieldError: a special token is but a part of the string, which could never come.
    """
    marks = special_tokens(tokenizer)
    if stop in marks:
        return marks[stop]
    for mark in marks:
        if stop is not None and mark in stop:
            raise FieldError(
                "stop",
                None,
                f"{stop!r} could never come, as a text never holds {mark!r}, a special token of this model. "
                "Name that alone.",
            )
    return None


def end_tokens(model: LanguageModel, tokenizer: PromptTokenizer, stop: str | None) -> frozenset[int]:
    """All tokens that end a response: the model's own, the task's end token, and a stop that is a special token.

    Raises:
        FieldError: as `stop_token`.
    """
    named = stop_token(tokenizer.tokenizer, stop)
    return model.end_tokens.union(tokenizer.ending, () if named is None else (named,))


def generated(
    reader: Reader,
    model: LanguageModel,
    prompts: Sequence[tuple[int, ...]],
    task: Task,
    *,
    adapters: Sequence[int] | None = None,
    batch_size: int | None = None,
) -> Iterator[tuple[int, str, Ending]]:
    """The texts with which prompts are continued; the arguments are those of `continued`.

    Yields:
        The index of a prompt, its response up to the stop string, and what ended it, in the order in which they end.
    """
    tokenizer = PromptTokenizer.of(model, task)
    for number, decoded in continued(reader, model, prompts, task, adapters=adapters, batch_size=batch_size):
        text = tokenizer.continuation(prompts[number], decoded.tokens)
        yield number, text.partition(task.stop)[0] if task.stop else text, decoded.ending


def continued(
    reader: Reader,
    model: LanguageModel,
    prompts: Sequence[tuple[int, ...]],
    task: Task,
    *,
    adapters: Sequence[int] | None = None,
    batch_size: int | None = None,
    sites: Sequence[Site] = (),
) -> Iterator[tuple[int, Decoded]]:
    """Continue prompts greedily until an end token, the task's stop string, or as many tokens as it allows.

    Args:
        reader: the network with the adapters, behind what the prompts have in common if it is read once.
        model: says which tokens end a text.
        prompts: tokens of each prompt, a shared prefix included.
        task: says how long a response may get, and what ends it.
        adapters: which of the reader's adapters continues each prompt; by default the first.
        batch_size: prompts that are continued at once; by default as many as fit.
        sites: what to record at the positions that predict the response.

    Yields:
        The index of a prompt and what was decoded after it, in the order in which they are finished.
    """
    tokenizer = PromptTokenizer.of(model, task)
    limits = Limits(task.max_new_tokens, end_tokens(model, tokenizer, task.stop), stops_at(tokenizer, task.stop))
    return decode(reader, prompts, limits, adapters=adapters, batch_size=batch_size, sites=sites)
