"""Responses during decoding: their tokens, the activations recorded, and the conditions that end them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ia2.models.reader import Reader
from ia2.models.sites import Activations, Site

Ending = Literal["end", "stop", "length"]
"""Why a response ended: an end token, the stop condition, or the maximum length."""


@dataclass(frozen=True)
class Decoded:
    """The response decoded after one prompt."""

    tokens: tuple[int, ...]
    """The response's tokens, without an end token."""
    ending: Ending
    activations: Activations
    """Activations at the positions that predict the tokens (and the end token, if there is one)."""


@dataclass(frozen=True)
class Limits:
    """Conditions that end a response."""

    max_tokens: int
    """Maximum number of tokens to decode."""
    end_tokens: frozenset[int] = frozenset()
    """Tokens that end a response and aren't part of it."""
    stops: Callable[[Sequence[int]], bool] = lambda tokens: False
    """Stop condition, called with all tokens decoded so far."""

    def ending(self, tokens: Sequence[int]) -> Ending | None:
        """Return why a response ends after these tokens; None if it goes on."""
        if self.stops(tokens):
            return "stop"
        return "length" if len(tokens) == self.max_tokens else None


@dataclass
class Row:
    """A prompt whose response is being decoded."""

    index: int
    length: int
    """Tokens of the prompt, including virtual tokens."""
    tokens: list[int] = field(default_factory=list)
    recorded: list[dict[Site, Float[Tensor, "steps layers width"]]] = field(default_factory=list)
    """Recorded activations, in chunks of steps."""
    ending: Ending | None = None

    def take(self, tokens: Sequence[int], limits: Limits) -> int:
        """Append tokens until one ends the response; return how many were consumed."""
        for count, token in enumerate(tokens, start=1):
            if token in limits.end_tokens:
                self.ending = "end"
            else:
                self.tokens.append(token)
                self.ending = limits.ending(self.tokens)
            if self.ending is not None:
                return count
        return len(tokens)

    def finished(self) -> Decoded:
        """Return the decoded response, once it has ended."""
        assert self.ending is not None, "only what has ended is given out"
        sites = self.recorded[0] if self.recorded else ()
        activations = {site: torch.cat([steps[site] for steps in self.recorded]) for site in sites}
        return Decoded(tuple(self.tokens), self.ending, activations)


@dataclass
class ResponseBatch:
    """Responses that are decoded in one batch, and what they are decoded from."""

    reader: Reader
    """The network, its adapters, and the prompts' shared prefix."""
    prompts: Sequence[tuple[int, ...]]
    """Tokens of all prompts, including a shared prefix."""
    limits: Limits
    adapter_of: Sequence[int]
    """Index of the reader's adapter for each prompt."""
    sites: Sequence[Site]
    """Sites to record at response positions."""
    size: int
    """Maximum number of responses in the batch."""
    rows: list[Row] = field(default_factory=list)
    """The responses in the batch."""

    def __post_init__(self) -> None:
        """Name the network, which is the reader's."""
        self.network = self.reader.network
