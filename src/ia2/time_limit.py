"""A limit to the seconds that a stranger's program may take, such as an adapter's pattern of names."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn


class TimeLimitError(Exception):
    """What ran for longer than it may."""


@contextmanager
def time_limit(seconds: int | float) -> Iterator[None]:
    """End the block after so many seconds.

    Python hears the system's clock in its main thread alone, in which commands and workers run; in other threads there
    is no limit.

    Args:
        seconds: how long the block may take.

    Raises:
        TimeLimitError: it took longer.

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
