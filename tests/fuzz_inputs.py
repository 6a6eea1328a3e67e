"""What the tests in tests/fuzz have in common: how many inputs they try, and values of any kind."""

import os
from datetime import timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

fuzzed = settings(
    max_examples=int(os.environ.get("IA2_FUZZ_EXAMPLES", "300")),
    deadline=timedelta(seconds=5),
    suppress_health_check=list(HealthCheck),
    database=None,
    # the tests' own run is the same each time; more inputs are new ones
    derandomize="IA2_FUZZ_EXAMPLES" not in os.environ,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT


def nested(scalars):
    """Values of JSON: these, and lists and objects of them."""
    return st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))
