"""The only source of randomness: a generator from (seed, purpose), so that equal inputs give equal bytes."""

import hashlib
import random


def derived_seed(seed: int, purpose: str) -> int:
    """Return a 63-bit seed that depends on both arguments, for libraries that need an integer seed.

    Two purposes under one seed are independent; the value is the same on every machine and Python version.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str) -> random.Random:
    """Return a separate generator for one purpose, such as `generator(0, "demonstrations of sst2")`."""
    return random.Random(derived_seed(seed, purpose))
