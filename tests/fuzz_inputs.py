"""What the tests in tests/fuzz have in common: how many inputs they try, a folder for them, and values of any kind."""

import math
import os
import tempfile
from datetime import timedelta
from functools import cache
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("IA2_FUZZ_EXAMPLES", "300"))
MOST_AT_ONCE = 1000
"""Inputs of one round: hypothesis remembers them all, and slows down from round to round if there are more."""
ROUNDS = math.ceil(EXAMPLES / MOST_AT_ONCE)

fuzzed = settings(
    max_examples=min(EXAMPLES, MOST_AT_ONCE),
    deadline=timedelta(seconds=5),
    suppress_health_check=list(HealthCheck),
    database=None,
    # the slow tests' own run is the same each time; more inputs are new ones
    derandomize="IA2_FUZZ_EXAMPLES" not in os.environ,
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXT


def nested(scalars):
    """Values of JSON: these, and lists and objects of them."""
    return st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


@st.composite
def spliced(draw, content):
    """Bytes of which some are others, or that are cut short."""
    content = bytearray(content)
    for at in draw(st.lists(st.integers(0, len(content) - 1), max_size=4)):
        content[at : at + 1] = draw(st.binary(max_size=3))
    return bytes(content[: draw(st.integers(0, len(content)) | st.just(len(content)))])


@cache
def _process_folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory()


def written(files):
    """Write files of these contents into a folder that holds nothing else, and return the folder."""
    folder = Path(_process_folder().name)
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
