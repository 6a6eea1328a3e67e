"""The one door to randomness: a generator from (seed, purpose), so that the same inputs give the same bytes."""

import hashlib
import random


def derived_seed(seed: int, purpose: str) -> int:
    """A 63-bit seed that depends on both arguments, for libraries that want a number of their own.

    Two purposes under one seed are independent; the value is the same on every machine and Python version.
    """
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, purpose: str) -> random.Random:
    """A private generator for one purpose, such as `generator(0, "demonstrations of sst2")`."""
    return random.Random(derived_seed(seed, purpose))
