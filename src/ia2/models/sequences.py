"""A prompt and its response as tokens, and the positions at which activations are read."""

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Literal

Where = Literal["response", "prompt", "all"]
"""Positions of a sequence: those that predict response tokens, those of the query before them, or both."""


@dataclass(frozen=True)
class TokenSequence:
    """A prompt and the response that follows it, as tokens.

    Example:
        >>> TokenSequence((5, 6, 7), (8,)).response
        (8,)
    """

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    query_tokens: int | None = None
    """Number of tokens at the end of the prompt that belong to the query; by default all of the prompt."""

    @property
    def inputs(self) -> tuple[int, ...]:
        """The tokens that the model reads to predict each response token; the last response token is only predicted."""
        return self.prompt + self.response[:-1]

    def positions(self, where: Where) -> range:
        """Return positions in `inputs`: those that predict response tokens, those of the query before them, or both."""
        last = len(self.prompt) - 1
        query = len(self.prompt) if self.query_tokens is None else self.query_tokens
        start = {"response": last, "prompt": len(self.prompt) - query, "all": len(self.prompt) - query}[where]
        return range(start, last if where == "prompt" else last + len(self.response))

    def __post_init__(self) -> None:
        if not self.prompt or not self.response:
            raise ValueError("a sequence needs at least one prompt token and one response token")


def shared_tokens(sequences: Sequence[TokenSequence]) -> tuple[int, ...]:
    """Return the longest common prefix of the prompts that leaves each at least one token."""
    # commonprefix is in os.path, but takes any sequences
    shared = commonprefix([sequence.prompt[:-1] for sequence in sequences])  # noqa: RUF071
    return tuple(shared)
