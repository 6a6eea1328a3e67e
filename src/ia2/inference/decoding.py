"""Text generation for prompts: length limits and stop conditions."""

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
from ia2.tasks.task import ContextItem, Example, Task


def checked_prompts(
    tokenizer: PromptTokenizer, examples: Sequence[Example], contexts: Sequence[Sequence[ContextItem]], task: Task
) -> list[tuple[int, ...]]:
    """Tokenise the prompts to continue, and check that each fits in the context with its longest response.

    Raises:
        InputError: a prompt plus the maximum number of response tokens is longer than the model's context.
    """
    prompts = [tokenizer.asked(row.query, context) for row, context in zip(examples, contexts, strict=True)]
    for row, prompt in zip(examples, prompts, strict=True):
        tokenizer.check_length(len(prompt) + task.max_new_tokens, row.query)
    return prompts


def stops_at(tokenizer: PromptTokenizer, stop: str | None) -> Callable[[Sequence[int]], bool]:
    """Return a predicate: whether decoded tokens contain the stop string, which may begin inside a token."""
    if stop is None:
        return lambda tokens: False
    # a token has at least one byte, a character at most four
    tail = 4 * len(stop) + 1
    return lambda tokens: stop in tokenizer.text(tokens[-tail:])


def stop_token(tokenizer: Any, stop: str | None) -> int | None:
    """Return the special token that a stop string names, since decoded text never contains it; None for other strings.

    Args:
        tokenizer: transformers' tokenizer.
        stop: the stop string; None for no stop.

    Raises:
        FieldError: the string contains a special token and more, so it could never occur in decoded text.
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
    """Return all tokens that end a response: the model's own, the task's end token, and a stop that is a special token.

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
    """Decode responses as text; the arguments are those of `continued`.

    Yields:
        A prompt's index, its response up to the stop string, and why it ended, in order of completion.
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
    """Decode greedily until an end token, the task's stop string, or the task's maximum number of tokens.

    Args:
        reader: the network with the adapters, with the prompts' common prefix cached if it is read only once.
        model: the model, for its end tokens.
        prompts: each prompt's tokens, including a shared prefix.
        task: the task, for the maximum response length and the stop string.
        adapters: index of the reader's adapter for each prompt; by default 0.
        batch_size: number of prompts decoded at once; by default as many as fit.
        sites: sites to record at the positions that predict the response.

    Yields:
        A prompt's index and its decoded response, in order of completion.
    """
    tokenizer = PromptTokenizer.of(model, task)
    limits = Limits(task.max_new_tokens, end_tokens(model, tokenizer, task.stop), stops_at(tokenizer, task.stop))
    return decode(reader, prompts, limits, adapters=adapters, batch_size=batch_size, sites=sites)
