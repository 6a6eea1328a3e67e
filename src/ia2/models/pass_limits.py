"""A device whose memory runs out: what was tried is tried again in halves, which is said once for each model."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
from transformers import PreTrainedModel

from ia2.errors import InputError
from ia2.progress import SILENT, Progress

Result = TypeVar("Result")


@dataclass
class PassLimit:
    """How much a pass without gradients may take of a network's device, once its memory was not enough for more."""

    progress: Progress = SILENT
    """Told when the memory runs out."""
    tokens: int | None = None
    """Tokens of texts that are read at once; None for as many as are worth it."""
    responses: int | None = None
    """Responses that are written at once; None for as many as are worth it."""
    is_said: bool = False
    """Whether it was said."""

    def say(self) -> None:
        """Say it, if it wasn't."""
        if not self.is_said:
            self.progress.say(
                "The device's memory ran out: what the model reads or writes at once is halved from now on, until it "
                "fits."
            )
        self.is_said = True


_LIMITS: "weakref.WeakKeyDictionary[PreTrainedModel, PassLimit]" = weakref.WeakKeyDictionary()


def pass_limit(network: PreTrainedModel) -> PassLimit:
    """The limit of a network, which all that reads with it shares."""
    return _LIMITS.setdefault(network, PassLimit())


def attempt(compute: Callable[[], Result]) -> tuple[Result | None, str | None]:
    """What a computation gives, or why the device's memory was not enough for it; what it held is let go by then."""
    try:
        return compute(), None
    except torch.OutOfMemoryError as error:
        reason = (str(error).splitlines() or [""])[0]
    # the failed computation's tensors live until its error is forgotten
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None, reason


def no_room(network: PreTrainedModel, least: str, reason: str) -> InputError:
    """What to raise where not even the least that can be computed at once fits, such as `one text`."""
    return InputError(
        f"{network.config.model_type}: the device's memory is not enough for {least} ({reason}). Use a smaller model, "
        "shorter rows or a device with more memory."
    )
