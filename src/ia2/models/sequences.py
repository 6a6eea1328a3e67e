"""A prompt and the response behind it, in tokens, and the positions at which it is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from os.path import commonprefix
from typing import Literal

Where = Literal["response", "prompt", "all"]
"""Which positions of a sequence: those that predict response tokens, those of the query before them, or both."""


@dataclass(frozen=True)
class TokenSequence:
    """A prompt and the response that follows it, in tokens.

    Example:
        >>> TokenSequence((5, 6, 7), (8,)).response
        (8,)
    """

    prompt: tuple[int, ...]
    response: tuple[int, ...]
    query_tokens: int | None = None
    """How many last tokens of the prompt are the query's; by default all of them."""

    @property
    def inputs(self) -> tuple[int, ...]:
        """What the model reads to predict each response token: the last one is predicted, never read."""
        return self.prompt + self.response[:-1]

    def positions(self, where: Where) -> range:
        """Positions among the inputs: those that predict response tokens, the query's before them, or both."""
        last = len(self.prompt) - 1
        query = len(self.prompt) if self.query_tokens is None else self.query_tokens
        start = {"response": last, "prompt": len(self.prompt) - query, "all": len(self.prompt) - query}[where]
        return range(start, last if where == "prompt" else last + len(self.response))

    def __post_init__(self) -> None:
        if not self.prompt or not self.response:
            raise ValueError("a sequence needs at least one prompt token and one response token")


def shared_tokens(sequences: Sequence[TokenSequence]) -> tuple[int, ...]:
    """The longest run of tokens that every prompt begins with, leaving each at least one token of its own."""
    # of tokens, not of paths
    shared = commonprefix([sequence.prompt[:-1] for sequence in sequences])  # noqa: RUF071
    return tuple(shared)
