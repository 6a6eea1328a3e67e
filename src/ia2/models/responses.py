"""A response that is being written: its tokens, what was recorded of them, and what ends it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ia2.models.sites import Activations, Site

Ending = Literal["end", "stop", "length"]
"""Whether an end token came, the stop was met, or the most tokens were reached."""


@dataclass(frozen=True)
class Decoded:
    """What was decoded after one prompt."""

    tokens: tuple[int, ...]
    """All tokens but an end token."""
    ending: Ending
    activations: Activations
    """What was recorded at the positions that predict the tokens (and the end token, if it came)."""


@dataclass(frozen=True)
class Limits:
    """What ends a response."""

    most_tokens: int
    """Tokens that are decoded at the most."""
    end_tokens: frozenset[int] = frozenset()
    """Any of these ends a response, and is no part of it."""
    stops: Callable[[Sequence[int]], bool] = lambda tokens: False
    """Told all tokens decoded so far, says whether they hold what ends a response."""

    def ending(self, tokens: Sequence[int]) -> Ending | None:
        """Why a response of these tokens ends here; None where it goes on."""
        if self.stops(tokens):
            return "stop"
        return "length" if len(tokens) == self.most_tokens else None


@dataclass
class Row:
    """A prompt that is being continued."""

    index: int
    length: int
    """Tokens of the prompt, virtual ones counted."""
    tokens: list[int] = field(default_factory=list)
    recorded: list[dict[Site, Float[Tensor, "steps layers width"]]] = field(default_factory=list)
    """What was read, some steps at a time."""
    ending: Ending | None = None

    def take(self, tokens: Sequence[int], limits: Limits) -> int:
        """Go on with tokens until one of them ends the response; says how many were looked at."""
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
        """What was decoded, when it has ended."""
        assert self.ending is not None, "only what has ended is given out"
        sites = self.recorded[0] if self.recorded else ()
        activations = {site: torch.cat([steps[site] for steps in self.recorded]) for site in sites}
        return Decoded(tuple(self.tokens), self.ending, activations)
