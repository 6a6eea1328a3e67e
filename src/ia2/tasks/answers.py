"""The answer in a response: where it stands, by a documented order of phrasings, and when two answers are the same.

Numbers, formulas and marked texts are looked for up to where a response begins to recite a demonstration (a line that
opens with `Question:` or `Text:`): what stands behind that line belongs to another question. Where a whole response is
the answer, such a line may be part of it.
"""

import re
import threading
import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Literal

AnswerKind = Literal["number", "boxed", "marked", "text"]
"""A number (GSM8K), a boxed formula (Hendrycks' mathematics), a text behind `####` (SciQ), or the whole response."""

RECITED = re.compile(r"^\s*(?:Question|Text):", re.MULTILINE)
MARK = "####"
SECONDS = 5
"""How long two formulas may be compared."""
# thousands apart as in English or as in India, or not apart
DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d\d)+,\d{3}|\d+)(?:\.\d+)?"
# a sign, a currency sign and digits, or a fraction: whole or not at all, so that 1,2345 and 1/2/2020 hold no number. A
# power of ten has two digits at most, since a longer one would be written out
NUMBER = re.compile(
    rf"""(?<![\w.])(?P<sign>[-−+]?)(?:[$€£¥]\s?)?(?P<inner>[-−]?)
        (?<!\d[,/])(?P<digits>(?:{DIGITS}|\.\d+)(?:e[-+]?\d\d?)?)
        (?:\s?/\s?(?P<below>(?=[\d.,]*[1-9]){DIGITS}))?
        (?!\d|[.,/]\d|e[-+]?\d)""",
    re.VERBOSE | re.IGNORECASE,
)
MIXED = re.compile(r"(?<![\w.,/])(\d{1,3}(?:,\d{3})+|\d+)[^\S\n]+(\d+)\s?/\s?(\d+)(?!\d|[.,/]\d)")
PHRASES = re.compile(r"answer\s*(?:is(?![a-z]|\s+not\b)|=|:)", re.IGNORECASE)


def find_number(response: str) -> str | None:
    r"""The number that a response like GSM8K's ends in, in one spelling: `1,234.50` is `1234.5`, `35.0` is `35`.

    The first of these that holds a number decides (appendix A: the mark, and other common phrasings):

    1. what follows the first `####` on its line, or on the next that isn't empty;
    2. the last `\boxed{…}`;
    3. what follows the last "the answer is", "answer:" or "answer =";
    4. the last number of the response.

    A number is read whole or not at all: `1,2345` and `3,5` are none. A space between digits parts two numbers, but
    for `3 1/2`, which is `7/2`.
    """
    last_part = own_part(response)
    # a formula has no spaces to tell a list by
    boxed = _formula(re.sub(r",(?!\d|\}|\\!)", ";", _boxed(last_part) or ""))
    candidates = [last_part.partition(MARK)[2].strip().partition("\n")[0], boxed]
    candidates += [last_part[phrase.end() :].partition("\n")[0] for phrase in list(PHRASES.finditer(last_part))[-1:]]
    for candidate in candidates:
        if match := NUMBER.search(_plain(candidate)):
            return _spelt(match)
    every = list(NUMBER.finditer(_plain(last_part)))
    return _spelt(every[-1]) if every else None


def find_boxed(response: str) -> str | None:
    r"""What stands in the last `\boxed{…}` or `\fbox{…}` of balanced braces, in one spelling; `\boxed 5` is 5."""
    inside = _boxed(own_part(response))
    return None if inside is None else _formula(inside)


def find_marked(response: str) -> str | None:
    """The rest of the line behind the first `####`, or the next one that isn't empty. In one Unicode form."""
    rest = own_part(response).partition(MARK)[2].strip().partition("\n")[0].strip()
    return unicodedata.normalize("NFC", rest) or None


def find_text(response: str) -> str | None:
    """The whole response, a line that opens with `Question:` or `Text:` included. In one Unicode form."""
    # some tokenizers compose accents in all that they read, so that a model can't write them apart
    return unicodedata.normalize("NFC", response.strip()) or None


FINDERS: Mapping[AnswerKind, Callable[[str], str | None]] = MappingProxyType(
    {"number": find_number, "boxed": find_boxed, "marked": find_marked, "text": find_text}
)
MATHEMATICAL: frozenset[AnswerKind] = frozenset({"number", "boxed"})
"""Kinds of answers that can be equal without being spelt alike."""


def own_part(response: str) -> str:
    """The response up to where it recites a demonstration."""
    recited = RECITED.search(response)
    return response[: recited.start()] if recited else response


def equivalent(candidate: str, right: str) -> bool:
    """Whether two mathematical answers mean the same: `1/2` and `0.5`, `x+1` and `1+x` (math-verify)."""
    # an import that takes a second, for those who need it
    from math_verify import parse, verify

    # a formula such as 9^{9^{9^9}} would be computed for ever; the alarm that stops it can be set in a main thread only
    limit = SECONDS if threading.current_thread() is threading.main_thread() else None
    gold, answer = (parse(f"${value}$", parsing_timeout=limit) for value in (right, candidate))
    return bool(gold and answer and verify(gold, answer, timeout_seconds=limit))


def _plain(text: str) -> str:
    # as LaTeX has them
    text = text.replace("\\$", "$").replace("{,}", ",").replace("\\!", "")
    # stars that set off a word, not those that multiply
    text = re.sub(r"(?<!\w)\*+(?=\S)", "", text)
    # thin and unbreakable spaces part thousands; an ordinary one may part two numbers
    text = re.sub(r"(?<=\d)(?:\\,|[\u00a0\u2009\u202f])(?=\d{3})", ",", text)
    text = re.sub(r"(?<=\d)(?=\\frac)", " ", _braced_fractions(text))
    text = re.sub(r"\\frac\{\s*([-−]?)([\d.,]+)\s*\}\{\s*([-−]?)([\d.,]+)\s*\}", r"\1\3\2/\4 ", text)
    text = MIXED.sub(_improper, text)
    # behind a number on its line it adds or subtracts: set apart, it's no sign of what follows
    return re.sub(r"(?<=\d)[^\S\n]*([-−+])", r" \1 ", text)


def _improper(match: re.Match[str]) -> str:
    """3 1/2 as 7/2; two numbers such as 24 6/3 as they are."""
    whole, above, below = (int(part.replace(",", "")) for part in match.groups())
    return f"{whole * below + above}/{below}" if above < below else match[0]


def _spelt(match: re.Match[str]) -> str:
    minus = "-" if (match["sign"] in ("-", "−")) != (match["inner"] in ("-", "−")) else ""
    digits = match["digits"].replace(",", "")
    if match["below"]:
        ratio = Fraction(digits) / Fraction(match["below"].replace(",", ""))
        return f"{minus}{ratio.numerator}/{ratio.denominator}" if ratio.denominator > 1 else f"{minus}{ratio.numerator}"
    value = Decimal(digits)
    whole = value == value.to_integral_value()
    return (minus if value else "") + (str(int(value)) if whole else f"{value.normalize():f}")


def _boxed(text: str) -> str | None:
    """What stands in the last box that is closed and holds something, as it is written."""
    for start in reversed([match.end() for match in re.finditer(r"\\(?:boxed|fbox)\s*", text)]):
        inside = _balanced(text, start) if text[start : start + 1] == "{" else re.split(r"[\s$]", text[start:])[0]
        if inside is not None and inside.strip():
            return inside
    return None


def _balanced(text: str, start: int) -> str | None:
    """What stands between the brace at `start` and the one that closes it; None where none does."""
    depth = 0
    for position in range(start, len(text)):
        escaped = text[position - 1 : position] == "\\"
        depth += {"{": 1, "}": -1}.get(text[position], 0) * (not escaped)
        if depth == 0:
            return text[start + 1 : position]
    return None


def _formula(text: str) -> str:
    """A formula without what changes its look alone: spaces, sizes of brackets and fractions, a full stop."""
    text = text.replace("{,}", ",").replace(r"\!", "")
    # before the spaces that tell a list
    text = re.sub(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?!\d|,\d)", lambda match: match[0].replace(",", ""), text)
    text = re.sub(r"\\(?:left|right)(?![A-Za-z])|\\[,;: ]|\\?\$", "", text)
    text = _braced_fractions(MIXED.sub(r"\1\\frac{\2}{\3}", text))
    # from the last, which may stand in the one before
    for match in reversed(list(re.finditer(r"\\(?:text|mathrm|textbf|mbox)(?=\{)", text))):
        inside = _balanced(text, match.end())
        if inside is not None:
            text = text[: match.start()] + inside + text[match.end() + len(inside) + 2 :]
    return re.sub(r"\s+", "", text).rstrip(".")


def _braced_fractions(text: str) -> str:
    r"""Fractions of any size as `\frac{…}{…}`, as TeX reads `\dfrac12` and `\frac{1}2`."""
    text = re.sub(r"\\[cdt]?frac\s*", r"\\frac", text)
    # from the last, which may stand in the one before
    for match in reversed(list(re.finditer(r"\\frac", text))):
        position = match.end()
        for _ in ("above", "below"):
            text = text[:position] + re.sub(r"^\w", r"{\g<0>}", text[position:].lstrip())
            inside = _balanced(text, position) if text.startswith("{", position) else None
            if inside is None:
                break
            position += len(inside) + 2
    return text
