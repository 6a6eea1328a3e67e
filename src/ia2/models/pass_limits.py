"""Handling of out-of-memory errors: halve the batch and retry, with one message per model."""

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
    """Limits on the size of a pass without gradients, set once the device has run out of memory."""

    progress: Progress = SILENT
    """Where the message is shown when memory runs out."""
    tokens: int | None = None
    """Maximum number of tokens to read in one pass; None for no limit besides the default size."""
    responses: int | None = None
    """Maximum number of responses to decode at once; None for no limit besides the default size."""
    is_said: bool = False
    """Whether the message was shown."""

    def say(self) -> None:
        """Show the message, the first time only."""
        if not self.is_said:
            self.progress.say(
                "The device's memory ran out: what the model reads or writes at once is halved from now on, until it "
                "fits."
            )
        self.is_said = True


_LIMITS: "weakref.WeakKeyDictionary[PreTrainedModel, PassLimit]" = weakref.WeakKeyDictionary()


def pass_limit(network: PreTrainedModel) -> PassLimit:
    """Return the network's limit, shared by everything that runs the network."""
    return _LIMITS.setdefault(network, PassLimit())


def attempt(compute: Callable[[], Result]) -> tuple[Result | None, str | None]:
    """Return a computation's result and None, or None and the reason if the device ran out of memory.

    In the latter case, the memory of the failed computation has been freed.
    """
    try:
        return compute(), None
    except torch.OutOfMemoryError as error:
        reason = (str(error).splitlines() or [""])[0]
    # the failed computation's tensors live until the exception object is gone
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None, reason


def no_room(network: PreTrainedModel, least: str, reason: str) -> InputError:
    """Return the error to raise if even the smallest unit of work, such as `one text`, doesn't fit in memory."""
    return InputError(
        f"{network.config.model_type}: the device's memory is not enough for {least} ({reason}). Use a smaller model, "
        "shorter rows or a device with more memory."
    )
