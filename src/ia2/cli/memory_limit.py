"""Checks the process's memory limit: with too little, some libraries wait forever."""

import resource

LEAST = 2**30
"""Bytes of address space to import torch, transformers and scipy with one thread, plus a margin."""


def check_memory_limit() -> None:
    """Refuse to start if the process's memory limit is too low for its libraries.

    Raises:
        MemoryError: the limit is too low; the message states it, and where such limits come from.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < LEAST:
        raise MemoryError(f"ulimit -v allows {limit // 2**20} MiB, and the libraries alone take {LEAST // 2**20}")
