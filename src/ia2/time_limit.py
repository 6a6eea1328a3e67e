"""A time limit for untrusted code, such as an adapter's regular expression for module names."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn


class TimeLimitError(Exception):
    """Raised if the time limit is exceeded."""


@contextmanager
def time_limit(seconds: int | float) -> Iterator[None]:
    """Interrupt the block after this many seconds.

    It only works in the main thread, where Python handles signals and where commands and workers run. In other threads
    there is no limit.

    Args:
        seconds: the time limit.

    Raises:
        TimeLimitError: the block took longer.

    Example:
        >>> with time_limit(0.1):
        ...     while True:
        ...         pass
        Traceback (most recent call last):
        ia2.time_limit.TimeLimitError: this took over 0.1 seconds
    """

    def stop(_number: int, _frame: Any) -> NoReturn:
        raise TimeLimitError(f"this took over {seconds:g} seconds")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
