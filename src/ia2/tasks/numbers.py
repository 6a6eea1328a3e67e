r"""Parsing numbers as people write them, each read whole or not at all.

Accepted: thousands separated by commas, spaces, apostrophes, underscores or points (`1,029`, `1 029`, `1'029`, `1_029`,
`1.029,50`), fractions and mixed numbers (`1/2`, `½`, `3 1/2`, `3½`, `\frac12`), powers (`10^3`, `10³`, `1e3`,
`2 × 10^3`), digits of other scripts (`٣`), and `2 million`. Units, percent signs and currencies are ignored.

Rejected, because they are ambiguous or not a single number: `1,2345`, `3,5`, `3-4`, `1:30`, `1/2/2020`, `3k`, `√2`,
`2π`, `0x1F`, `0.(3)`, `0.333…`.
"""

import re
import unicodedata
from decimal import Decimal
from fractions import Fraction

from ia2.tasks.formulas import MIXED, braced_fractions

MAX_LENGTH = 300
"""Length of the longest number that is parsed, in characters."""
# thousands separated as in English or as in India, or not at all
DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,2}(?:,\d\d)+,\d{3}|\d+)(?:\.\d+)?"
# a sign, a currency sign and digits, or a fraction. An exponent has at most two digits, because the value is written
# out in full
NUMBER = re.compile(
    rf"""(?<![\w.^])(?P<sign>[-−+]?)(?:[$€£¥]\s?)?(?P<inner>[-−]?)
        (?<!\d[,/])(?P<digits>(?:{DIGITS}|\.\d+)(?:e[-+]?\d\d?)?)
        (?:\s?/\s?(?P<below>(?=[\d.,]*[1-9]){DIGITS}))?
        (?!\d|[.,/]\d|e[-+]?\d)""",
    re.VERBOSE | re.IGNORECASE,
)
_NONE = "□"
"""Placeholder for digits that are rejected."""
_MAGNITUDES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-")
_START = r"(?<![\w.,/^])"
"""Lookbehind: the number doesn't continue a longer token."""
_POWER = re.compile(
    rf"{_START}({DIGITS})\s?(?:\^|\*\*)\s?(?:\{{\s*([-−]?\d{{1,2}})\s*\}}|([-−]?\d{{1,2}}))(?![\d^]|\.\d)"
)
_TIMES_TEN = re.compile(rf"{_START}({DIGITS})\s?(?:×|·|\*|x|\\times|\\cdot)\s?1e(-?\d\d?)(?!\d)")
_SIDE = r"[$€£¥]?\d(?:[\d.,/]*\d)?%?"
_SEVERAL = re.compile(rf"(?<![\w.,/])(?:{_SIDE}(?:[-–−:]{_SIDE})+|\d[\d.,/]*\.\.+\d[\d.]*)")
"""A range, a date, a time or a ratio."""
_NO_NUMBER = (
    # roots, and multiples of a root or of π
    re.compile(rf"(?:{DIGITS})?\s?(?:√\s?|\\sqrt\s*(?:\[[^\]\n]*\])?\s*\{{?\s*){DIGITS}"),
    re.compile(rf"{_START}{DIGITS}\s?(?=√|\\sqrt|π|\\pi(?![a-z]))"),
    # hexadecimal, binary and octal
    re.compile(r"(?<!\w)0[xXbBoO][0-9A-Fa-f]+"),
    # recurring decimals
    re.compile(r"\d*\.(?:\d*(?:\(\d+\)|\\(?:overline|bar)\b\s*\{\d+\})|\d+(?:\.\.+|…))"),
    re.compile(r"\d[\d.,]*_[\d_]+"),
    re.compile(rf"{_START}\d[\d.,]*(?:[kKMB]|bn)\b"),
    re.compile(rf"±\s?{DIGITS}"),
)


def first_number(text: str) -> str | None:
    """Return the first number of a text, normalised (`1234.5`, `-3`, `7/2`), or None."""
    match = NUMBER.search(_simplified(text))
    return None if match is None else _normalised(match)


def last_number(text: str) -> str | None:
    """Return the last number of a text, normalised as by `first_number`, or None."""
    last = None
    for last in NUMBER.finditer(_simplified(text)):  # noqa: B007
        pass
    return None if last is None else _normalised(last)


def _simplified(text: str) -> str:
    """Rewrite the numbers of a text to forms that `NUMBER` matches, and replace rejected ones by `_NONE`."""
    # LaTeX's dollar signs, grouping commas and thin spaces
    text = text.replace("\\$", "$").replace("{,}", ",").replace("\\!", "")
    text = re.sub(r"\^\s?(?:\{\s*\\circ\s*\}|\\circ)", "°", text)
    # asterisks for emphasis, not for multiplication
    text = re.sub(r"(?<![\w*])\*+(?=\S)", "", text)
    text = _ascii(text)
    # overlong numbers go first, because the patterns below are slow on them
    text = re.sub(rf"(?:\d+[^\S\n])?\d[\d.,/]{{{MAX_LENGTH},}}", _NONE, text)
    text = _with_comma_separators(text)
    text = re.sub(r"(?<=\d)(?=\\frac)", " ", braced_fractions(text))
    text = re.sub(r"\\frac\{\s*([-−]?)([\d.,]+)\s*\}\{\s*([-−]?)([\d.,]+)\s*\}", r"\1\3\2/\4 ", text)
    text = MIXED.sub(_improper, text)
    for pattern in _NO_NUMBER:
        text = pattern.sub(_NONE, text)
    text = _TIMES_TEN.sub(r"\1e\2", _POWER.sub(_evaluated_power, text))
    # any remaining power
    text = re.sub(r"(?:\d[\d.,]*\s?)?\^\s?\{?\s*[-−]?[\w.^]*|\d[\d.,]*\*\*\d[\w.^]*", _NONE, text)
    text = _with_magnitudes_expanded(_SEVERAL.sub(_NONE, text))
    # a sign after a number is an operator: spaces around it keep it from being read as the next number's sign
    return re.sub(r"(?<=\d)[^\S\n]*([-−+])", r" \1 ", text)


def _ascii(text: str) -> str:
    """Convert digits of any script, single-character fractions and superscripts to ASCII."""
    written = []
    for character in text:
        kind = "" if character.isascii() else unicodedata.category(character)
        if kind == "Nd":
            written.append(str(unicodedata.decimal(character)))
        elif kind == "No" and "⁄" in (parts := unicodedata.normalize("NFKC", character)):
            before = " " if written and written[-1][-1:].isdigit() else ""
            written.append(before + parts.replace("⁄", "/"))
        else:
            written.append({"٫": ".", "٬": ",", "⁄": "/"}.get(character, character))
    text = "".join(written)
    return re.sub(r"(?<=\d)[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+", lambda match: "^" + match[0].translate(_SUPERSCRIPTS), text)


def _with_comma_separators(text: str) -> str:
    """Replace other thousands separators by commas, and an unambiguous decimal comma by a point."""
    # TeX's and Unicode's thin spaces
    text = re.sub(r"(?<=\d)(?:\\,|[\u00a0\u2009\u202f])(?=\d{3})", "\u00a0", text)
    parted = (
        rf"{_START}\d{{1,3}}(?:(?P<by>[\u00a0 '’_.])\d{{3}}(?:(?P=by)\d{{3}})*)(?P<rest>,\d{{1,2}}(?!\d|,\d)|\.\d+|)"
    )
    return re.sub(rf"{parted}(?![\d_]|\s?/|['’]\d|[.,]\d)", _regrouped, text)


def _regrouped(match: re.Match[str]) -> str:
    by, rest = match["by"], match["rest"]
    whole = match[0].removesuffix(rest)
    # in 1.029 and 1.029.5 the point is not a thousands separator
    if by == "." and not rest.startswith(",") and (rest or whole.count(".") < 2):
        return match[0]
    return whole.replace(by, ",") + rest.replace(",", ".")


def _improper(match: re.Match[str]) -> str:
    """Convert 3 1/2 to 7/2, but leave two separate numbers such as 24 6/3."""
    whole, above, below = (int(part.replace(",", "")) for part in match.groups())
    return f"{whole * below + above}/{below}" if above < below else match[0]


def _evaluated_power(match: re.Match[str]) -> str:
    """Write a power of ten with an exponent and other powers as their value; `_NONE` if that isn't an integer."""
    base, power = match[1].replace(",", ""), int((match[2] or match[3]).replace("−", "-"))
    if base == "10":
        return f"1e{power}"
    if power < 0 or "." in base or len(base) > 10:
        return _NONE
    return str(int(base) ** power)


def _with_magnitudes_expanded(text: str) -> str:
    """Write `2.5 million` as 2500000."""
    names = "|".join(_MAGNITUDES)
    number = rf"(?<![\w.,/{_NONE}])({DIGITS})[ \u00a0-]?({names})s?\b"
    text = re.sub(number, lambda match: f"{Decimal(match[1].replace(',', '')).scaleb(_MAGNITUDES[match[2]]):f}", text)
    return re.sub(rf"[\d.,/]*\d[ \u00a0-]?(?:{names})s?\b", _NONE, text)


def _normalised(match: re.Match[str]) -> str:
    minus = "-" if (match["sign"] in ("-", "−")) != (match["inner"] in ("-", "−")) else ""
    digits = match["digits"].replace(",", "")
    if match["below"]:
        ratio = Fraction(digits) / Fraction(match["below"].replace(",", ""))
        return f"{minus}{ratio.numerator}/{ratio.denominator}" if ratio.denominator > 1 else f"{minus}{ratio.numerator}"
    value = f"{Decimal(digits):f}"
    if "." in value:
        value = value.rstrip("0").rstrip(".")
    whole, point, decimals = value.partition(".")
    value = (whole.lstrip("0") or "0") + point + decimals
    return minus * bool(Decimal(digits)) + value
