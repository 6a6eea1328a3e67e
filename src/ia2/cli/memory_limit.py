"""A limit of a process's memory that is too small for the libraries: some of them would wait for more without end."""

import resource

LEAST = 2**30
"""Bytes of address space that importing torch, transformers and scipy takes with one thread, and a little more."""


def check_memory_limit() -> None:
    """Refuse to begin where the system gives this process less memory than its libraries take.

    Raises:
        MemoryError: it does; says how much, and where such a limit comes from.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST:
        raise MemoryError(f"ulimit -v allows {limit // 2**20} MiB, and the libraries alone take {LEAST // 2**20}")
