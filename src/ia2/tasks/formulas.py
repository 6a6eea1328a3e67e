"""Normalising TeX formulas and extracting boxed ones."""

import re

MIXED = re.compile(r"(?<![\w.,/])(\d{1,3}(?:,\d{3})+|\d+)[^\S\n]+(\d+)\s?/\s?(\d+)(?!\d|[.,/]\d)")
"""A mixed number such as `3 1/2`."""


def boxed(text: str) -> str | None:
    """Return the unchanged content of the last box that is closed and not empty, or None."""
    for start in reversed([match.end() for match in re.finditer(r"\\(?:boxed|fbox)\s*", text)]):
        inside = balanced(text, start) if text[start : start + 1] == "{" else re.split(r"[\s$]", text[start:])[0]
        if inside is not None and inside.strip():
            return inside
    return None


def balanced(text: str, start: int) -> str | None:
    """Return the text between the brace at `start` and its closing brace, or None if it is never closed."""
    depth = 0
    for position in range(start, len(text)):
        escaped = text[position - 1 : position] == "\\"
        depth += {"{": 1, "}": -1}.get(text[position], 0) * (not escaped)
        if depth == 0:
            return text[start + 1 : position]
    return None


def formula(text: str) -> str:
    """Return a formula without purely visual markup: spaces, sizes of brackets and fractions, a final full stop."""
    text = text.replace("{,}", ",").replace(r"\!", "")
    # must run before spaces are removed, since they distinguish a list from a number with thousands separators
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)", lambda match: match[0].replace(",", ""), text)
    text = re.sub(r"\\(?:left|right)(?![A-Za-z])|\\[,;: ]|\\?\$", "", text)
    text = braced_fractions(MIXED.sub(r"\1\\frac{\2}{\3}", text))
    # from the last match backwards, since matches can be nested
    for match in reversed(list(re.finditer(r"\\(?:text|mathrm|textbf|mbox)(?=\{)", text))):
        inside = balanced(text, match.end())
        if inside is not None:
            text = text[: match.start()] + inside + text[match.end() + len(inside) + 2 :]
    return re.sub(r"\s+", "", text).rstrip(".")


def braced_fractions(text: str) -> str:
    r"""Return the text with every fraction written as `\frac{…}{…}`, including `\dfrac12` and `\frac{1}2`."""
    text = re.sub(r"\\[cdt]?frac\s*", r"\\frac", text)
    # from the last match backwards, since fractions can be nested
    for match in reversed(list(re.finditer(r"\\frac", text))):
        position = match.end()
        for _ in ("above", "below"):
            text = text[:position] + re.sub(r"^\w", r"{\g<0>}", text[position:].lstrip())
            inside = balanced(text, position) if text.startswith("{", position) else None
            if inside is None:
                break
            position += len(inside) + 2
    return text
