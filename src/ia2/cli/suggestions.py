"""Suggestions for mistyped names."""

import difflib
from collections.abc import Iterable

AS_CLOSE = 0.05
"""Maximum difference in similarity, in [0, 1], to the closest name for a second name to be suggested."""


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Return a question with the closest names, to append to a sentence; empty if none is close.

    Example:
        >>> did_you_mean("smolm2-135m", ["smollm2-135m"])
        ' Did you mean smollm2-135m?'
        >>> did_you_mean("--modle", ["--model", "--modules", "--method"])
        ' Did you mean --modules or --model?'
        >>> did_you_mean("llama", ["smollm2-135m"])
        ''
    """
    by_lower = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), by_lower, n=2)
    alike = [difflib.SequenceMatcher(None, name, word.lower()).ratio() for name in close]
    likely = [by_lower[name] for name, ratio in zip(close, alike, strict=True) if ratio > alike[0] - AS_CLOSE]
    return f" Did you mean {' or '.join(likely)}?" if likely else ""
